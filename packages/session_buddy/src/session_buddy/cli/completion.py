"""What a word that is being typed may go on as: a key of a query, a value, a session's id.

Quick and silent: values come from closed sets, or from a running server if it answers at once.
"""

from collections.abc import Callable, Collection, Iterable
from typing import Final

from session_buddy.client import ask
from session_buddy.history.keys import CHOICES, KEYS, METADATA, Key
from session_buddy.history.reference import LATEST
from session_buddy.history.syntax import Value

Completer = Callable[[str], list[str]]

# The fields in which a running server has the values of a key.
_FIELDS_OF: Final = {
    **{key.name: (key.column,) for key in KEYS if key.kind == "text" and key.column},
    "user": ("person", "username"),
    "id": ("session_id",),
    "parent": ("session_id",),
}
_DIGITS: Final = 8


def term(typed: str) -> list[str] | list[tuple[str, str]]:
    """A term of a query: its key, with what that looks at, then its values; ``-`` may stand before it.

    >>> term("from"), term("-status:active,cr")
    ([('from:', 'the address that it was logged in from')], ['-status:active,crashed'])
    """
    sign = "-" if typed.startswith("-") else ""
    name, colon, begun = typed.removeprefix(sign).partition(":")
    if colon:
        return [f"{sign}{name}:{one}" for one in values_of(name)(begun)]
    return [(f"{sign}{_written(key)}", key.looks_at) for key in KEYS if key.name.startswith(name)]


def _written(key: Key) -> str:
    """A key as it is typed before something else."""
    return f"{METADATA}." if key.name.startswith(METADATA) else f"{key.name}:"


def values_of(key: str) -> Completer:
    """Completes what stands behind a key, or behind the option that is its other spelling."""
    return _listed(lambda begun: CHOICES.get(key) or _known(key, begun))


def one_of(values: Collection[str]) -> Completer:
    """Completes one of these words."""

    def complete(begun: str) -> list[str]:
        return [one for one in values if one.startswith(begun)]

    return complete


def some_of(values: Collection[str]) -> Completer:
    """Completes a list of these words, with commas."""
    return _listed(lambda _: values)


def session(typed: str) -> list[str]:
    """A session's id, its last digits once they are begun, or ``latest``."""
    return one_of([*_known("id", typed), LATEST])(typed)


def _listed(known: Callable[[str], Iterable[str]]) -> Completer:
    """Completes the last of the values that commas part; those that stand there already are not offered."""

    def complete(begun: str) -> list[str]:
        *given, last = begun.split(",")
        before = begun.removesuffix(last)
        return [f"{before}{one}" for one in known(last) if one.startswith(last) and one not in given]

    return complete


def _known(key: str, begun: str) -> list[str]:
    """What a running server knows; without what a query, or a shell, reads as something else.

    Names come from other people's machines: typed into a shell, ``$(…)`` would be run.
    """
    if key not in _FIELDS_OF:
        return []
    of_ids = _FIELDS_OF[key] == ("session_id",)
    query = f"{'id' if of_ids else key}:{Value(begun, any_behind=True)}" if begun else ""
    known = ask.recent(_FIELDS_OF[key], query)
    ends = [one[-_DIGITS:] for one in known] if of_ids and begun else []
    return [one for one in (*known, *ends) if str(Value(one)) == one]
