"""Addresses of pages: every view is its address."""

from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote, urlencode

from session_buddy.history.query import Term
from session_buddy.history.syntax import Value

_KEYS: Final = {"person": "user", "host": "host", "component": "component"}


def address(path: str, **parameters: str | None) -> str:
    """A page with its parameters; those without a value are left out. ``begin`` is written ``from``.

    >>> address("/timeline", q="user:ada host:web*", tz="", begin="2026-01-02T03:04:05Z")
    '/timeline?q=user:ada+host:web*&from=2026-01-02T03:04:05Z'
    """
    given = [("from" if name == "begin" else name, value) for name, value in parameters.items() if value]
    return f"{path}?{urlencode(given, safe=':*,/')}" if given else path


def of_session(session_id: str, tz: str | None = None) -> str:
    """The page of one session."""
    return address(f"/sessions/{quote(session_id, safe='')}", tz=tz)


def written(moment: datetime) -> str:
    """A moment as an address has it, to the second.

    >>> written(datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC))
    '2026-01-02T03:04:05Z'
    """
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def narrowed(query: str, *terms: str) -> str:
    """A query with further terms."""
    return " ".join(filter(None, [query, *terms]))


def terms_of(by: str, name: str) -> list[str]:
    """The terms of a query that mean a person, as statistics name them, a host or a component.

    >>> terms_of("person", "root, says alice"), terms_of("host", "db 1")
    (['account:root', 'user:alice'], ['host:"db 1"'])
    """
    account, says, claimed = name.partition(", says ") if by == "person" else (name, "", "")
    terms = [Term("account" if says else _KEYS[by], (Value(account),))]
    terms += [Term("user", (Value(claimed),))] * bool(says)
    return [term.written() for term in terms]
