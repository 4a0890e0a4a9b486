"""What is said below a table of sessions: how many there are, of whom, and in which zone its times are."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from session_buddy.cli.text import hanging, in_zone
from session_buddy.history.query import MOST_COUNTED, Clock, Query
from session_buddy.history.record import person
from session_buddy.history.statistics import MAX_ROWS, MEASURES, Statistics
from session_buddy.history.words import Record, count, shown

# So many people are named who share a component.
_NAMED: Final = 4


def _zone(moment: Clock) -> str:
    return f"times in {moment.now.astimezone(moment.zone):%Z}"


def _asked(query: Query, moment: Clock) -> str:
    """A query as it was understood, its times in the zone that is shown."""
    return query.written(lambda time: in_zone(time.isoformat(), moment.zone).isoformat(" ", "seconds"))


def of_list(printed: int, total: int | None, active: int | None, query: Query, moment: Clock) -> str:
    """How many are shown, of how many that fit, how many of all those are active."""
    if not printed:
        return f"No sessions found: {_asked(query, moment)}" if query.terms else "No sessions found."
    total = total or printed
    many = f"more than {MOST_COUNTED:,} sessions" if total > MOST_COUNTED else count(total, "session")
    of = f"{printed:,} of " * (printed < total)
    return f"{of}{many}, {active or 0:,} active; {_zone(moment)}"


def of_statistics(found: Mapping[str, Any], asked: Statistics, moment: Clock, width: int) -> Iterator[str]:
    """How many sessions were counted, which, and whether all rows are shown, as lines of that width."""
    sessions = found["sessions"]
    if not sessions:
        yield of_list(0, 0, 0, asked.query, moment)
        return
    terms = asked.query.terms[:-1] if asked.span != (None, None) else asked.query.terms
    which = f" of {_asked(replace(asked.query, terms=terms), moment)}" if terms else ""
    period = _period(asked, moment)
    yield from hanging(f"{count(sessions, 'session')}{which}{period}; {_zone(moment)}", 2, width)
    yield from of_cut(found)


def of_cut(found: Mapping[str, Any]) -> Iterator[str]:
    """That there are more rows than these."""
    if found["truncated"]:
        shown_rows, most = len(found["rows"]), count(found["groups"], "row")
        how = "--limit 0 shows all" if shown_rows < MAX_ROWS else "take a shorter --period"
        yield f"{shown_rows:,} of {most} shown; {how}"


def _period(asked: Statistics, moment: Clock) -> str:
    """What the sessions of a period did in it; of all time nothing need be said."""
    since, before = (
        time and f"{in_zone(time.isoformat(), moment.zone):%Y-%m-%d %H:%M}" for time in asked.span
    )
    did = " open" if MEASURES[asked.metric].key == "at" else " started"
    return (
        f"{did * bool(since or before)}{f' from {since}' if since else ''}{f' to {before}' if before else ''}"
    )


def of_people(records: Sequence[Record], query: Query, moment: Clock, width: int) -> Iterator[str]:
    """How many people are in, and which components several of them are in, as lines of that width."""
    if not records:
        several = len(query.terms) > 1
        yield f"Nobody is in: {_asked(query, moment)}" if several else "Nobody is in."
        return
    people = count(len({person(record) for record in records}), "person", "people")
    yield f"{people} in {count(len(records), 'session')}; {_zone(moment)}"
    for line in _shared(records):
        yield from hanging(line, 0, width)


def _shared(records: Sequence[Record]) -> Iterator[str]:
    people: dict[str, list[str]] = {}
    for record in records:
        people.setdefault(record["component"], []).append(shown(person(record)))
    for component, names in people.items():
        if len(names := list(dict.fromkeys(names))) > 1:
            *first, last = names if len(names) <= _NAMED else [*names[: _NAMED - 1], _others(names)]
            yield f"{shown(component)} is shared by {', '.join(first)} and {last}"


def _others(names: Sequence[str]) -> str:
    return f"{len(names) - _NAMED + 1} others"
