"""A person's last day as one small line: their sessions along 24 hours."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from session_buddy.history.record import person
from session_buddy.history.words import Record, count

DAY: Final = timedelta(hours=24)
WIDTH: Final = 132
_NARROWEST: Final = 1.5


class Bar(NamedTuple):
    """A session: where it begins and how wide it is, in units of the drawing, and its status."""

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
    return {key: Spark(sorted(bars), _label(bars)) for key, bars in found.items()}


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
