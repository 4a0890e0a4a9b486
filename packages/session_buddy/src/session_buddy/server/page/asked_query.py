"""The query of a page: its terms as chips that can be taken away, and what is wrong with one."""

import re
from itertools import pairwise
from typing import Final, NamedTuple

from session_buddy.errors import InvalidQuery
from session_buddy.history.query import Query
from session_buddy.history.syntax import cut
from session_buddy.history.words import shown

_PLACE: Final = re.compile(r"query at (\d+)")
_NEAREST: Final = re.compile(r"the nearest is (\w+)")


class Chip(NamedTuple):
    """A term of a query.

    Attributes:
        text: as it was typed.
        means: as it was understood, times absolute.
        without: the query without it.
    """

    text: str
    means: str
    without: str


class Wrong(NamedTuple):
    """What is wrong with a query.

    Attributes:
        before: what of it is right.
        part: what is not.
        behind: the rest.
        told: what is allowed, in words.
        better: the query with the nearest key; empty where none is near.
    """

    before: str
    part: str
    behind: str
    told: str
    better: str


def chips(text: str, query: Query) -> list[Chip]:
    """The terms of a query that could be read; ``query`` is what was read."""
    places = [token.place - 1 for token in cut(text)]
    pieces = [text[begin:end].strip() for begin, end in pairwise([*places, len(text)])]
    return [
        Chip(
            shown(piece),
            shown(term.written(lambda time: f"{time:%Y-%m-%d %H:%M:%S}")),
            _without(pieces, number),
        )
        for number, (piece, term) in enumerate(zip(pieces, query.terms, strict=True))
    ]


def _without(pieces: list[str], number: int) -> str:
    return " ".join(pieces[:number] + pieces[number + 1 :])


def wrong(text: str, error: InvalidQuery) -> Wrong:
    """Where a query is wrong; all of it, where the error is of no place in it."""
    found = _PLACE.fullmatch(error.field)
    if not found:
        return Wrong("", shown(text) if text else "", "", f"{error.field}: {error.allowed}", "")
    begin, value = int(found[1]) - 1, str(error.value)
    # A value stands behind its key.
    begin = max(text.find(value, begin), begin)
    end = min(begin + len(value), len(text))
    nearest = _NEAREST.search(error.allowed)
    better = f"{text[:begin]}{nearest[1]}:{text[end:]}" if nearest and value.endswith(":") else ""
    before, part, behind = (shown(one) if one else "" for one in (text[:begin], text[begin:end], text[end:]))
    return Wrong(before, part, behind, error.allowed, better)
