"""The words that tools take, and how long each may be."""

from typing import Annotated, Any, Final

from pydantic import AfterValidator, Field, StringConstraints

from session_buddy.history.keys import KEYS

MAX_WORDS: Final = 200
_MAX_QUERY: Final = 8000


def _text(words: str) -> str:
    words.encode()  # JSON can carry half an emoji, which raises here, and nowhere later
    return words


# What somebody looks for; longer ones would only fill the log.
Words = Annotated[str, StringConstraints(max_length=MAX_WORDS), AfterValidator(_text)]
SessionRef = Annotated[
    Words, Field(description="an id, its 8-hex suffix, a unique prefix of either, or latest")
]
# A query has many terms.
QueryText = Annotated[str, StringConstraints(max_length=_MAX_QUERY), AfterValidator(_text)]
# The command line says when an offset changed, of twenty years.
OffsetsText = Annotated[str, StringConstraints(max_length=_MAX_QUERY)]
QUERY_IN_SHORT: Final = (
    'which: user:ada -status:active component:shop,bank host:web* at:"monday 14:00" duration:>1h words;'
    f" keys: {', '.join(key.name for key in KEYS)}"
)

Ignored = Annotated[Any, Field(description="not looked at: a caller is known by its Authorization header")]
