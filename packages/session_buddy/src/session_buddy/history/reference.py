"""How people name one session: by its id, or a part of it."""

import difflib
from collections.abc import Iterable, Sequence
from typing import Final

from session_buddy.errors import InvalidQuery
from session_buddy.history.syntax import held

# The session that started last.
LATEST: Final = "latest"


def parse_ref(text: str) -> str:
    """How a session is named: its id, the last eight digits, or a beginning of either.

    Raises:
        InvalidQuery: nothing is named.
    """
    if not text.strip():
        raise InvalidQuery("session_id", text, "an id, its last 8 digits, or a beginning of either")
    return held(text.strip())


def nearest(ref: str, session_ids: Iterable[str], limit: int = 3) -> list[str]:
    """The ids that look most like ``ref``, the most alike first."""
    by_text = {text: one for one in session_ids for text in (one.rpartition("-")[2], one)} | {LATEST: LATEST}
    close: Sequence[str] = difflib.get_close_matches(ref, by_text, n=2 * limit, cutoff=0.6)
    return [one for one in dict.fromkeys(by_text[text] for text in close) if one != ref][:limit]
