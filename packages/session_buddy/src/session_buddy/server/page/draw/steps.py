"""Numbers in few steps: classes of a heatmap, the axis of a chart, the path of a line in steps."""

from collections.abc import Sequence
from typing import Final, NamedTuple

CLASSES: Final = 5
_INTERVALS: Final = 3


class Class(NamedTuple):
    """From ``low`` to ``high``, both in it."""

    low: int
    high: int


def classes(numbers: Sequence[int]) -> list[Class]:
    """Steps with about as many of the numbers in each, at most five; 0 is in none.

    >>> [tuple(one) for one in classes([0, 1, 1, 1, 2, 2, 3, 5, 8, 40])]
    [(1, 1), (2, 2), (3, 3), (5, 8), (40, 40)]
    """
    known = sorted(number for number in numbers if number > 0)
    tops = sorted(
        {known[-(-len(known) * step // CLASSES) - 1] for step in range(1, CLASSES + 1)} if known else ()
    )
    lows = [min(known), *(min(one for one in known if one > top) for top in tops[:-1])] if known else []
    return [Class(low, top) for low, top in zip(lows, tops, strict=True)]


def class_of(number: int, found: Sequence[Class]) -> int:
    """The place of a number's class, from 1; 0: none of it."""
    return next((place for place, one in enumerate(found, 1) if one.low <= number <= one.high), 0)


def axis(most: int) -> list[int]:
    """Round numbers from 0 to what is not below ``most``.

    >>> axis(7), axis(1), axis(0), axis(130)
    ([0, 5, 10], [0, 1], [0, 1], [0, 50, 100, 150])
    """
    if most <= 1:
        return [0, 1]
    size = 10 ** (len(str(most)) - 1)
    step = next(
        step for step in (size // 2, size, 2 * size, 5 * size) if step and -(-most // step) <= _INTERVALS
    )
    return list(range(0, -(-most // step) * step + 1, step))


def stairs(numbers: Sequence[int], top: int, height: int) -> tuple[str, str]:
    """The path of a line in steps, a unit each, and of the area below it; ``top`` is drawn at ``height``."""
    levels = [height - round(height * number / top, 1) for number in numbers]
    line = "".join(f"{'L' if place else 'M'}{place} {level:g}h1" for place, level in enumerate(levels))
    return line, f"M0 {height}{line.replace('M', 'L', 1)}V{height}z"
