"""What a word that is being typed may go on as: a term of a query, a value, a session's id.

Quick and silent: values come from closed sets, or from a running server if it answers at once.
"""

from collections.abc import Callable, Collection

from session_buddy.client import ask
from session_buddy.history.completion import needed, offers, one_more
from session_buddy.history.reference import LATEST

Completer = Callable[[str], list[str]]


def term(typed: str) -> list[str] | list[tuple[str, str]]:
    """A term of a query: its key, with what that looks at, then its values; ``-`` may stand before it.

    >>> term("from"), term("-status:active,cr")
    ([('from:', 'the address that it was logged in from')], ['-status:active,crashed'])
    """
    if ":" in typed:
        return _with_values(typed)
    return [(one.text, one.tells) for one in offers(typed)]


def values_of(key: str) -> Completer:
    """Completes what stands behind a key, or behind the option that is its other spelling."""
    before = f"{key}:"

    def complete(typed: str) -> list[str]:
        return [one.removeprefix(before) for one in _with_values(f"{before}{typed}")]

    return complete


def one_of(values: Collection[str]) -> Completer:
    """Completes one of these words."""

    def complete(begun: str) -> list[str]:
        return [one for one in values if one.startswith(begun)]

    return complete


def some_of(values: Collection[str]) -> Completer:
    """Completes a list of these words, with commas."""

    def complete(typed: str) -> list[str]:
        return one_more(typed, values)

    return complete


def session(typed: str) -> list[str]:
    """A session's id, its last digits once they are begun, or ``latest``."""
    return [*values_of("id")(typed), *one_of([LATEST])(typed)]


def _with_values(term: str) -> list[str]:
    asked = needed(term)
    return [one.text for one in offers(term, ask.recent(*asked) if asked else [], in_shell=True)]
