"""Lengths of time, numbers and texts from anywhere, as people read them."""

from oneiric.visible import visible


def length(seconds: float | None) -> str:
    """A length of time in its two largest units.

    >>> [length(seconds) for seconds in (None, 0.4, 12, 312, 3720, 273600)]
    ['-', '0s', '12s', '5m 12s', '1h 02m', '3d 04h']
    """
    if seconds is None:
        return "-"
    minutes, rest = divmod(int(max(seconds, 0)), 60)
    hours, minutes_left = divmod(minutes, 60)
    days, hours_left = divmod(hours, 24)
    if days:
        return f"{days}d {hours_left:02}h"
    if hours:
        return f"{hours}h {minutes_left:02}m"
    return f"{minutes}m {rest:02}s" if minutes else f"{rest}s"


def many(number: int, one: str, more: str = "") -> str:
    """So many of something.

    >>> many(1, "session"), many(1234, "session"), many(0, "person", "people")
    ('1 session', '1,234 sessions', '0 people')
    """
    return f"{number:,} {one if number == 1 else more or one + 's'}"


def from_to(begin: str, end: str) -> str:
    """Two times with a dash between them."""
    return f"{begin} \N{EN DASH} {end}"


def short(text: str, most: int) -> str:
    """A text from anywhere, of so many letters at most, with nothing invisible in it.

    >>> short("rollback", 9), short("rollback of the release", 9)
    ('rollback', 'rollback…')
    """
    return visible(text if len(text) <= most else f"{text[: most - 1]}…")
