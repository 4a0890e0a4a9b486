"""One session for people: what is asked first on top, then all of it, and how each fact is known."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, TextIO

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from session_buddy.cli.columns import TIMES, since
from session_buddy.cli.table import console_on, style_of
from session_buddy.cli.text import hanging, local_time
from session_buddy.history.query import Clock
from session_buddy.history.record import who
from session_buddy.history.words import (
    MISSING,
    Record,
    came_from,
    count,
    ending,
    evidence,
    flatten,
    found,
    human_duration,
    idle,
    shown,
)

_GAP: Final = 2
_BRANCHES: Final = "│├└─ "
# So many of the sessions around it fit on a first screen.
_ABOVE: Final = 3
_NESTED: Final = 6

Line = tuple[str, str, str]


def write_session(answer: Mapping[str, Any], stream: TextIO, moment: Clock) -> None:
    """Write one session: what is asked first within a screen, its events, then every field.

    Args:
        answer: of the ``get_session`` tool, with its details.
        stream: where.
        moment: when, and in which zone times are shown.
    """
    console = console_on(stream)
    record = answer["session"]
    _write(console, [*_first(record, moment), *_around(answer, moment)])
    console.print(Text("\nevents", "bold"))
    _write(console, [_event(event, moment) for event in answer.get("events", ())])
    console.print(Text("\nall fields", "bold"))
    write_fields(record, stream, moment)


def write_fields(record: Record, stream: TextIO, moment: Clock) -> None:
    """Write a field a line; long values go on below, but no word of theirs, no id, is cut."""
    lines = [
        (shown(key), _text(key, value, moment) + _known(key, value, record), key == "status")
        for key, value in flatten(record)
    ]
    _write(console_on(stream), [(key, text, style_of(text) if styled else "") for key, text, styled in lines])


def _write(console: Console, lines: Sequence[Line]) -> None:
    indent = max((cell_len(key) for key, *_ in lines), default=0) + _GAP
    for key, value, style in lines:
        # What goes on below stands behind the branches that a tree draws.
        drawn = value[: len(value) - len(value.lstrip(_BRANCHES))]
        wrapped = hanging(value[len(drawn) :], indent + cell_len(drawn), console.width)
        text = drawn + "\n".join(wrapped)
        padded = key + " " * (indent - cell_len(key))
        console.print(Text.assemble((padded, "bold"), (text, style)), soft_wrap=True)


def _first(record: Record, moment: Clock) -> Iterator[Line]:
    """What is asked first; nothing of what is not known."""
    yield "who", shown(who(record)), ""
    kind = f"{shown(record['shell_type'])}, {shown(record['session_type'])}, pid {record['pid']}"
    yield "in", f"{shown(record['component'])} on {shown(record['hostname'])} ({kind})", ""
    yield "status", ending(record), style_of(ending(record))
    lasted = human_duration(record["duration_seconds"])
    if record["end_time"] is None:
        now = idle(record) if record.get("busy") else f"idle {idle(record)}"
        yield "since", f"{local_time(record['start_time'], moment.zone)}, for {lasted}; {now}", ""
    else:
        yield "since", local_time(record["start_time"], moment.zone), ""
        yield "until", f"{local_time(record['end_time'], moment.zone)}, after {lasted}", ""
        yield "found", found(record), ""
    if record["commands"] is not None:
        yield "did", f"{count(record['commands'], 'command')}, {count(record['errors'] or 0, 'error')}", ""
    for name, text in (
        ("from", came_from(record)),
        ("reason", shown(record["reason"])),
        ("folder", shown(record["cwd"])),
    ):
        if text != MISSING:
            yield name, text, ""


def _around(answer: Mapping[str, Any], moment: Clock) -> Iterator[Line]:
    """The sessions that it is nested in, and those within it, as a tree; then those next to it in time."""
    record, above, below = answer["session"], answer.get("ancestors", ()), answer.get("nested", ())
    above, outer = above[-_ABOVE:], len(above[:-_ABOVE])
    if above or below:
        lines = [*_tree([*above, record, *below], moment)]
        for number, line in enumerate(lines[: len(above) + 1 + _NESTED]):
            yield "tree" if number == 0 else "", line, ""
        if outer:
            yield "", f"within {count(outer, 'more session')}", ""
        if len(lines) > len(above) + 1 + _NESTED:
            yield "", f"and more: list-sessions parent:{shown(record['session_id'][-8:])}", ""
    for name in ("before", "after"):
        if one := answer.get(name):
            yield name, _brief(one, moment), ""


def _tree(records: Sequence[Record], moment: Clock) -> Iterator[str]:
    """The sessions, each below the one that it was started from, in which they are given."""
    by_parent: dict[str | None, list[Record]] = {}
    ids = {one["session_id"] for one in records}
    for one in records:
        parent = one["parent_session_id"] if one["parent_session_id"] in ids else None
        by_parent.setdefault(parent, []).append(one)

    def drawn(parent: str | None, before: str) -> Iterator[str]:
        children = by_parent.get(parent, [])
        for child in children:
            last = child is children[-1]
            branch, on = ("└─ ", "   ") if last else ("├─ ", "│  ")
            top = parent is None
            yield f"{before}{'' if top else branch}{_brief(child, moment)}"
            yield from drawn(child["session_id"], before + ("" if top else on))

    yield from drawn(None, "")


def _brief(record: Record, moment: Clock) -> str:
    what = f"{shown(who(record))} in {shown(record['component'])} on {shown(record['hostname'])}"
    when = since(record["start_time"], moment)
    return f"{shown(record['session_id'][-8:])}  {what}, {when}, {ending(record)}"


def _event(event: Mapping[str, Any], moment: Clock) -> Line:
    body = event["body"]
    parts = [local_time(event["timestamp"], moment.zone)]
    if event["event_type"] == "session_end":
        status = {"status": "ended", **body}
        parts += [ending(status), f"by {shown(body.get('detected_by') or 'emitter')}"]
    came = local_time(event["received_at"], moment.zone)
    parts.append(f"reported by {shown(event['reported_by'])}, received {came}")
    return shown(event["event_type"]), ", ".join(parts), ""


def _known(key: str, value: object, record: Record) -> str:
    """Behind a fact that says who it was: how it is known."""
    known = evidence(key, value, record)
    return f" ({known})" if known else ""


def _text(key: str, value: object, moment: Clock) -> str:
    if key in TIMES and isinstance(value, str):
        return local_time(value, moment.zone)
    if key == "person_also" and isinstance(value, list) and value:
        return shown([f"{one['name']} ({one['evidence']})" for one in value])
    if key in ("duration_seconds", "idle_seconds") and isinstance(value, int | float):
        return f"{value:.3f} ({human_duration(value)})"
    return shown(value)
