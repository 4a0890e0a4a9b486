"""The words that tools take, and how long each may be."""

from typing import Annotated, Any, Final

from pydantic import Field

from session_buddy.history.keys import KEYS
from session_buddy.server.words import Words

SessionRef = Annotated[
    Words, Field(description="an id, its 8-hex suffix, a unique prefix of either, or latest")
]
QUERY_IN_SHORT: Final = (
    'which: user:ada -status:active component:shop,bank host:web* at:"monday 14:00" duration:>1h words;'
    f" keys: {', '.join(key.name for key in KEYS)}"
)

Ignored = Annotated[Any, Field(description="not looked at: a caller is known by its Authorization header")]
