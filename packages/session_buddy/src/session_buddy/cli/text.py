"""Values as text: what a terminal may be shown, lengths of time, local times, lines that fit.

Values come from other people's machines, so no control character of theirs reaches a terminal.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, tzinfo
from typing import Any, Final

from oneiric.visible import INVISIBLE, visible

Record = Mapping[str, Any]

MISSING: Final = "-"
_MIN_WRAP: Final = 20


def shown(value: object) -> str:
    """``value`` as people are shown it, on one line.

    >>> [shown(value) for value in (None, "", 7, ["a", "b"])]
    ['-', '-', '7', 'a, b']
    """
    return visible(MISSING if value is None or value == "" else _plain(value))


def human_duration(seconds: float) -> str:
    """A length of time in its two largest units.

    >>> [human_duration(length) for length in (0.4, 12, 312, 3720, 273600)]
    ['0s', '12s', '5m 12s', '1h 02m', '3d 04h']
    """
    minutes, rest = divmod(int(max(seconds, 0)), 60)
    hours, minutes_left = divmod(minutes, 60)
    days, hours_left = divmod(hours, 24)
    if days:
        return f"{days}d {hours_left:02}h"
    if hours:
        return f"{hours}h {minutes_left:02}m"
    return f"{minutes}m {rest:02}s" if minutes else f"{rest}s"


def count(number: int, one: str, many: str = "") -> str:
    """So many of something.

    >>> count(1, "session"), count(1234, "session"), count(0, "person", "people")
    ('1 session', '1,234 sessions', '0 people')
    """
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def local_time(iso: str, zone: tzinfo | None = None) -> str:
    """An ISO 8601 time in a zone, this machine's if not given; the zone is named."""
    return in_zone(iso, zone).strftime("%Y-%m-%d %H:%M:%S %Z")


def in_zone(iso: str, zone: tzinfo | None = None) -> datetime:
    """An ISO 8601 time in a zone, this machine's if not given; as it is where the calendar ends."""
    time = datetime.fromisoformat(iso)
    try:
        return time.astimezone(zone)
    except OverflowError:
        return time


def hanging(text: str, indent: int, width: int) -> list[str]:
    """``text`` as lines of at most ``width`` cells, broken between words, all but the first behind an indent.

    The first line's own indent is the caller's. A word longer than a line stays whole, for the terminal to
    break, so that a copied id or path stays whole too.

    >>> hanging("track_events, list_sessions, get_session", 2, 30)
    ['track_events, list_sessions,', '  get_session']
    """
    room, cells = max(width - indent, _MIN_WRAP), _measure(text)
    lines: list[list[str]] = []
    taken = 0
    for word in text.split(" "):
        if lines and taken + 1 + cells(word) <= room:
            lines[-1].append(word)
            taken += 1 + cells(word)
        elif word or not lines:
            lines.append([word])
            taken = cells(word)
    return [" " * indent * (at > 0) + " ".join(line).rstrip() for at, line in enumerate(lines)]


def _measure(text: str) -> Callable[[str], int]:
    """What tells how many cells a part of ``text`` takes."""
    if text.isascii():
        return len
    from rich.cells import cell_len  # Rich costs time that few texts need

    return cell_len


def flatten(record: Record, prefix: str = "") -> Iterator[tuple[str, object]]:
    """The fields of a record, those of nested objects under dotted names.

    >>> list(flatten({"pid": 7, "metadata": {"adapters": ["a", "b"], "deep": {}, "x.y": 1}}))
    [('pid', 7), ('metadata.adapters', ['a', 'b']), ('metadata.deep', None), ('metadata."x.y"', 1)]
    """
    for key, value in record.items():
        # A name with a dot in it is quoted: it would pass for a path.
        path = prefix + (json.dumps(key, ensure_ascii=False) if not key or {".", '"'} & set(key) else key)
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{path}.")
        else:
            yield path, None if isinstance(value, Mapping) else value


def _plain(value: object) -> str:
    if isinstance(value, list) and all(isinstance(item, str | int | float) for item in value):
        return ", ".join(str(item) for item in value) or MISSING
    return value if isinstance(value, str) else as_json(value)


def as_json(value: object, indent: int | None = None) -> str:
    """``value`` as JSON in which nothing acts on a terminal."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    # Line feeds that are left stand between values; inside a string JSON has escaped them already.
    return INVISIBLE.sub(lambda match: match[0] if match[0] == "\n" else json.dumps(match[0])[1:-1], text)
