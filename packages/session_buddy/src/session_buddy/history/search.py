"""The one text of a session that words are looked for in, its letter case folded here and by no database."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from session_buddy.history.syntax import held

if TYPE_CHECKING:
    from session_buddy.history.model import SessionRow


def folded(text: str) -> str:
    """A text without differences of letter case, as it is stored and as it is looked for.

    >>> folded("Straße")
    'strasse'
    """
    return held(text).casefold()


def search_text(row: "SessionRow", end_metadata: Mapping[str, Any] | None) -> str:
    """Who, where, why, and all values of the metadata, that of the end included, each on a line."""
    origin = row.origin or {}
    texts = [
        row.person,
        row.username,
        row.sudo_user,
        *(one["name"] for one in row.person_also or ()),
        row.hostname,
        row.component,
        row.agent,
        row.reason,
        row.cwd,
        origin.get("tty"),
        origin.get("ssh_client"),
        *texts_in({**(row.metadata or {}), **(end_metadata or {})}),
    ]
    return folded("\n".join(filter(None, texts)))


def texts_in(value: object) -> list[str]:
    """All texts and numbers within JSON, but not the names of what is in it.

    >>> texts_in({"adapters": ["a", "b"], "size": 12, "on": True})
    ['a', 'b', '12', 'true']
    """
    if isinstance(value, dict):
        return [text for one in value.values() for text in texts_in(one)]
    if isinstance(value, list):
        return [text for one in value for text in texts_in(one)]
    return [] if value is None else [text_of(value)]


def text_of(value: Any) -> str:  # noqa: ANN401 - JSON
    """A value of metadata as a query names it: a text as it is, all else as JSON has it."""
    if isinstance(value, str):
        return value
    from pydantic_core import to_json  # who has a row has loaded it

    return to_json(value).decode()
