"""What a query that is being typed may go on as: a key, a value of a closed set, a name, a time.

The command line and the pages complete by this. Names are those of recent sessions: :func:`needed` says which
fields of which have them, and whoever asks hands over what was found.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from oneiric.visible import visible
from session_buddy.history.keys import CHOICES, KEYS, Kind
from session_buddy.history.syntax import Value

# Names are those of so many sessions, the newest.
RECENT: Final = 200
_DIGITS: Final = 8
_ID: Final = ("session_id",)
# The fields that have the names of a key.
_FIELDS_OF: Final = {
    **{key.name: (key.column,) for key in KEYS if key.kind == "text" and key.column},
    "user": ("person", "username"),
    "id": _ID,
    "parent": _ID,
}
_TIMES: Final = ("today", "yesterday", "monday", '"this week"', '"last week"')
# Of values that nobody can list: some, which show how they are compared.
_EXAMPLES: Final[dict[Kind, tuple[str, ...]]] = {
    "number": ("0", ">0", ">10", "1..10"),
    "duration": (">10m", ">1h", ">8h", "<1m", "30m..1h"),
    "time": (*_TIMES, ">1h", ">24h", ">7d"),
    "overlap": ("now", *_TIMES),
}
_LISTED: Final = CHOICES | {key.name: _EXAMPLES[key.kind] for key in KEYS if key.kind in _EXAMPLES}
# Quotes may still be open in what is being typed.
_TERM: Final = re.compile(r'(?:"(?:[^"\\]|\\.)*"?|[^\s"])+', re.DOTALL)
_BEFORE_LAST: Final = re.compile(r'(?:(?>"(?:[^"\\]|\\.)*"?|[^,"])*+,)*+', re.DOTALL)


class Offer(NamedTuple):
    """What may stand in the place of what was typed.

    Attributes:
        text: the whole of it.
        tells: what a key looks at; empty for values.
    """

    text: str
    tells: str


def last_term(query: str) -> str:
    """The term at the end of a query; empty behind a blank.

    >>> last_term('user:ada at:"monday 14'), last_term("user:ada ")
    ('at:"monday 14', '')
    """
    *_, (end, last) = (0, ""), *((one.end(), one[0]) for one in _TERM.finditer(query))
    return last if end == len(query) else ""


def needed(term: str) -> tuple[tuple[str, ...], str] | None:
    """The fields of recent sessions that have what a term goes on as, and of which; ``None``: it needs none.

    >>> needed("-host:db1,we"), needed("status:")
    ((('hostname',), 'host:we*'), None)
    """
    key, typed = _key_of(term), _typed(term)
    if typed is None or key not in _FIELDS_OF:
        return None
    fields, begun = _FIELDS_OF[key], _plain(_last(typed))
    asked = "id" if fields == _ID else key
    return fields, f"{asked}:{Value(begun, any_behind=True)}" if begun else ""


def names_in(sessions: Iterable[Mapping[str, Any]], fields: Sequence[str]) -> list[str]:
    """What sessions have in the fields that are :func:`needed`, the first session's first.

    >>> names_in([{"person": "ada", "username": "root"}, {"username": "ada"}], ["person", "username"])
    ['ada', 'root', 'ada']
    """
    return [str(one[field]) for one in sessions for field in fields if one.get(field)]


def offers(term: str, names: Collection[str] = (), *, in_shell: bool = False) -> list[Offer]:
    """What a term may be once it is typed; ``-`` may stand before it.

    Args:
        term: as far as it is typed.
        names: those that recent sessions have (:func:`names_in`); each is offered once.
        in_shell: nothing that a shell reads as something else: names come from other people's machines, and
            typed into one, ``$(…)`` would be run.

    >>> offers("from")
    [Offer(text='from:', tells='the address that it was logged in from')]
    >>> [one.text for one in offers("user:bob,a", ["ada", "ann lee", "bob"])]
    ['user:bob,ada', 'user:bob,"ann lee"']
    """
    key, typed = _key_of(term), _typed(term)
    if typed is None:
        sign = "-" * term.startswith("-")
        return [
            Offer(f"{sign}{one.name}:".replace(".KEY:", "."), one.looks_at)
            for one in KEYS
            if one.name.startswith(key)
        ]
    known = _LISTED.get(key) or [str(Value(one)) for one in _names(key, typed, names)]
    if in_shell:
        known = [one for one in known if str(Value(one)) == one]
    before = term.removesuffix(typed)
    return [Offer(f"{before}{one}", "") for one in one_more(typed, known)]


def one_more(typed: str, known: Iterable[str]) -> list[str]:
    """The last of values that commas part, as it may go on; what stands there already is not offered."""
    last = _last(typed)
    before, begun = typed.removesuffix(last), _plain(last)
    given = {_plain(one) for one in before.split(",")}
    return [f"{before}{one}" for one in known if _plain(one).startswith(begun) and _plain(one) not in given]


def _names(key: str, typed: str, names: Collection[str]) -> list[str]:
    """Those in which no character acts or hides; of an id that is begun also its last digits."""
    ends = [one[-_DIGITS:] for one in names] if _FIELDS_OF.get(key) == _ID and typed else []
    return [one for one in dict.fromkeys((*names, *ends)) if visible(one) == one]


def _key_of(term: str) -> str:
    return term.removeprefix("-").partition(":")[0].lower()


def _typed(term: str) -> str | None:
    """What of a term's values is typed; ``None``: it is no further than its key."""
    _, colon, typed = term.partition(":")
    return typed if colon else None


def _last(typed: str) -> str:
    before = _BEFORE_LAST.match(typed)
    return typed[before.end() :] if before else typed


def _plain(value: str) -> str:
    return value.strip('"')
