"""A person's last day as one small line: their sessions along 24 hours."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from session_buddy.history.record import person
from session_buddy.history.words import Record, count

DAY: Final = timedelta(hours=24)
WIDTH: Final = 132
_NARROWEST, _CUT = 2.0, 2.0
# What is drawn later lies above.
_ABOVE: Final = ("ended", "active", "lost", "crashed")


class Bar(NamedTuple):
    """A session, or the mark at the end of a crashed or lost one; in units of the drawing."""

    x: float
    width: float
    kind: str


class Spark(NamedTuple):
    """The drawing, and the same in words."""

    bars: list[Bar]
    label: str


def sparks(records: Iterable[Record], now: datetime) -> Mapping[str, Spark]:
    """The last day of each person, by the key of :func:`session_buddy.history.record.person`."""
    found: dict[str, list[Bar]] = {}
    for record in records:
        found.setdefault(person(record), []).append(_bar(record, now))
    return {
        key: Spark(_merged([*map(_body, bars), *_cuts(bars)]), _label(bars)) for key, bars in found.items()
    }


def _body(bar: Bar) -> Bar:
    return bar if bar.kind == "active" else bar._replace(kind="ended")


def _cuts(bars: list[Bar]) -> list[Bar]:
    """Where those end that went wrong."""
    return [
        Bar(round(bar.x + bar.width - _CUT, 1), _CUT, bar.kind)
        for bar in bars
        if bar.kind in ("crashed", "lost")
    ]


def _merged(bars: list[Bar]) -> list[Bar]:
    """Bars in the order in which they are drawn; those of one kind that touch are one."""
    drawn: list[Bar] = []
    for bar in sorted(bars, key=lambda one: (_ABOVE.index(one.kind), one.x)):
        last = drawn[-1] if drawn else None
        if last and last.kind == bar.kind and bar.x <= last.x + last.width:
            end = max(last.x + last.width, bar.x + bar.width)
            drawn[-1] = last._replace(width=round(end - last.x, 1))
        else:
            drawn.append(bar)
    return drawn


def _bar(record: Record, now: datetime) -> Bar:
    begin, end = (
        datetime.fromisoformat(text) if text else now for text in (record["start_time"], record["end_time"])
    )
    left, right = (min(max((one - now + DAY) / DAY, 0.0), 1.0) * WIDTH for one in (begin, end))
    width = max(right - left, _NARROWEST)
    return Bar(round(min(left, WIDTH - width), 1), round(width, 1), record["status"])


def _label(bars: list[Bar]) -> str:
    bad = sum(bar.kind in ("crashed", "lost") for bar in bars)
    said = f"{count(len(bars), 'session')} in the last 24 hours"
    return f"{said}, {bad} ended badly" if bad else said
