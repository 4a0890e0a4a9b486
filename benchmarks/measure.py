"""Timing by alternation: both sides of a ratio see the same machine."""

import statistics
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

MEGABYTE = 1_000_000


class Effort(NamedTuple):
    """How much is done for each figure.

    Attributes:
        rounds: how often a process is started or a statement made, where a median is shown.
        calls: how often a call is made, where its slowest hundredth is shown.
        hours: how long a soak lasts, in simulated time.
        kills: how often the server is killed under load.
    """

    rounds: int
    calls: int
    hours: int
    kills: int


FULL = Effort(rounds=15, calls=1000, hours=24, kills=200)
QUICK = Effort(rounds=5, calls=200, hours=1, kills=20)


class Row(NamedTuple):
    """One line of the table; ``within`` is ``None`` where there is no bar, or nothing could be measured."""

    what: str
    figure: str
    bar: str = ""
    within: bool | None = None


def seconds(action: Callable[[], object]) -> float:
    """How long ``action`` takes."""
    begun = time.perf_counter()
    action()
    return time.perf_counter() - begun


def median(action: Callable[[], object], rounds: int) -> float:
    """The median duration of ``action``; the first round warms up and does not count."""
    return statistics.median([seconds(action) for _ in range(rounds + 1)][1:])


def turns(actions: Sequence[Callable[[], object]], rounds: int) -> list[float]:
    """The median of each, taken in turns; the first round warms up and does not count."""
    taken = [[seconds(action) for action in actions] for _ in range(rounds + 1)][1:]
    return [statistics.median(values) for values in zip(*taken, strict=True)]


def pairs(one: Callable[[], object], other: Callable[[], object], rounds: int) -> tuple[float, float]:
    """Medians of both, taken in turns."""
    medians = turns([one, other], rounds)
    return medians[0], medians[1]


def percentile(values: list[float], share: float) -> float:
    """The value below which ``share`` (0 to 1) of ``values`` lie."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def ratio(what: str, ours: float, theirs: float, bar: float, of: str) -> Row:
    """A row that compares two durations in seconds."""
    figure = f"{ours / theirs:.2f} times ({ours * 1000:.0f} ms, {of} {theirs * 1000:.0f} ms)"
    return Row(what, figure, f"≤ {bar}", ours / theirs <= bar)


def duration(what: str, value: float, bar: float | None = None) -> Row:
    """A row for one duration in seconds."""
    figure = f"{value * 1000:.2f} ms"
    return Row(what, figure) if bar is None else Row(what, figure, f"≤ {bar * 1000:g} ms", value <= bar)


def count(what: str, found: Sequence[str], bar: int | None = None) -> Row:
    """A row for how many of something were found, and which; ``bar``: how many there may be."""
    numbers = Counter(found)
    names = [f"{number} {name}" if number > 1 else name for name, number in numbers.items()]
    figure = f"{len(found)}: {', '.join(names)}" if found else "0"
    return Row(what, figure) if bar is None else Row(what, figure, f"≤ {bar}", len(found) <= bar)


def number(what: str, value: int, wanted: int) -> Row:
    """A row for a number that must be exactly so."""
    return Row(what, f"{value:,}", f"{wanted:,}", value == wanted)


def table(rows: list[Row]) -> str:
    """The rows as a Markdown table."""
    lines = ["| what | figure | bar | |", "|---|---|---|---|"]
    lines += [f"| {row.what} | {row.figure} | {row.bar} | {_MARKS[row.within]} |" for row in rows]
    return "\n".join(lines)


_MARKS = {True: "✓", False: "✗ missed", None: ""}
