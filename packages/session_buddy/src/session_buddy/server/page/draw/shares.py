"""Named numbers as bars beside each other."""

from collections.abc import Iterable
from typing import NamedTuple

from session_buddy.server.page.draw.scale import percent

# What there is one of is seen, beside millions.
_LEAST = 0.8


class Share(NamedTuple):
    """A row; ``kind`` is the state that it has the colour of, if any."""

    name: str
    number: int
    width: str
    kind: str
    href: str


def shares(rows: Iterable[tuple[str, int, str, str]]) -> list[Share]:
    """Rows of name, number, kind and address, each as wide as it is to the largest.

    >>> [(one.name, one.width) for one in shares([("left", 40, "", ""), ("crashed", 10, "", "")])]
    [('left', '100%'), ('crashed', '25%')]
    """
    rows = list(rows)
    most = max((number for _, number, _, _ in rows), default=0) or 1
    return [
        Share(name, number, percent(max(100 * number / most, _LEAST)), kind, href)
        for name, number, kind, href in rows
    ]
