"""The query of a page: its terms as chips that can be taken away, and what is wrong with one."""

import re
from difflib import get_close_matches
from itertools import pairwise
from typing import Final, NamedTuple

from session_buddy.errors import InvalidQuery
from session_buddy.history.query import Query
from session_buddy.history.syntax import cut
from session_buddy.history.words import shown

_PLACE: Final = re.compile(r"query at (\d+)")
_NEAREST_KEY: Final = re.compile(r"the nearest is (\w+)")
_FIRST_WORD: Final = re.compile(r"one of (\w+)")


class Chip(NamedTuple):
    """A term of a query: as typed, as understood with absolute times, and the query without it."""

    text: str
    means: str
    without: str


class Wrong(NamedTuple):
    """A query in which ``part`` is wrong; ``told`` says what is allowed there.

    ``better`` is the query with the nearest key or word; empty where none is near.
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
            " ".join(pieces[:number] + pieces[number + 1 :]),
        )
        for number, (piece, term) in enumerate(zip(pieces, query.terms, strict=True))
    ]


def wrong(text: str, error: InvalidQuery) -> Wrong:
    """Where a query is wrong, and how it would be right."""
    found, value = _PLACE.fullmatch(error.field), str(error.value)
    begin = int(found[1]) - 1 if found else 0
    # A value stands behind its key; of an error that names no place in the query, it may stand nowhere in it.
    begin = max(text.find(value, begin), begin)
    end = min(begin + len(value), len(text)) if found or value in text else begin
    before, part, behind = (shown(one) if one else "" for one in (text[:begin], text[begin:end], text[end:]))
    told = error.allowed if found else f"{error.field}: {error.allowed}"
    nearest = _nearest(value, error.allowed)
    better = f"{text[:begin]}{nearest}{text[end:]}" if nearest and end > begin else ""
    return Wrong(before, part, behind, told, better)


def _nearest(value: str, allowed: str) -> str:
    """What was meant: the nearest key, or the first of the words that are allowed if it is near."""
    if key := _NEAREST_KEY.search(allowed):
        return f"{key[1]}:" if value.endswith(":") else ""
    word = _FIRST_WORD.match(allowed)
    return word[1] if word and get_close_matches(value.lower(), [word[1]], cutoff=0.5) else ""
