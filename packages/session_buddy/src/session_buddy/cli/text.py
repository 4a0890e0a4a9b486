"""Text on a terminal: local times, lines that fit."""

from collections.abc import Callable
from datetime import datetime, tzinfo
from typing import Final

_MIN_WRAP: Final = 20


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
