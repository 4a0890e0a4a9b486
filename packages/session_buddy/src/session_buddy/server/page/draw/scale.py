"""Moments as places on an axis."""

from datetime import datetime
from typing import Final

from session_buddy.history.timeline import Window

# The narrowest bar, in percent: 4 pixels where there is room, 1 on a telephone.
LEAST: Final = 0.35


def place(window: Window, moment: datetime) -> float:
    """Where a moment is, in percent of a window; what lies outside is at its edge.

    >>> from datetime import UTC, timedelta
    >>> noon = datetime(2026, 1, 2, 12, tzinfo=UTC)
    >>> place(Window(noon, noon + timedelta(hours=4)), noon + timedelta(hours=1))
    25.0
    """
    share = (moment - window.begin) / (window.end - window.begin)
    return 100 * min(max(share, 0.0), 1.0)


def stretch(window: Window, begin: datetime, end: datetime | None) -> tuple[float, float]:
    """Where a bar begins, and how wide it is, in percent; wide enough to be seen, and within the window."""
    first, last = place(window, begin), place(window, end or window.end)
    width = max(last - first, LEAST)
    return min(first, 100 - width), width


def percent(value: float) -> str:
    """As an attribute has it: to a twentieth of a pixel of the widest screen.

    >>> percent(12.5), percent(1 / 3), percent(100.0)
    ('12.5%', '0.333%', '100%')
    """
    return f"{round(value, 3):g}%"
