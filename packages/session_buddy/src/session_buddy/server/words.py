"""The texts that tools and routes take, and how long each may be."""

from typing import Annotated, Final

from pydantic import AfterValidator, Field, StringConstraints

MAX_WORDS: Final = 200
_MAX_QUERY: Final = 8000


def _text(words: str) -> str:
    words.encode()  # JSON can carry half an emoji, which raises here, and nowhere later
    return words


# A search value; longer ones would only fill the log.
Words = Annotated[str, StringConstraints(max_length=MAX_WORDS), AfterValidator(_text)]
# A query has many terms.
QueryText = Annotated[str, StringConstraints(max_length=_MAX_QUERY), AfterValidator(_text)]
# The command line says when an offset changed, of twenty years.
OffsetsText = Annotated[str, StringConstraints(max_length=_MAX_QUERY)]
SessionRef = Annotated[
    Words, Field(description="an id, its 8-hex suffix, a unique prefix of either, or latest")
]
