"""Links that sign a browser in: each once, within a minute."""

import secrets
from collections.abc import Callable
from typing import Final, NamedTuple

from session_buddy.access.callers import Caller

LIFE_SECONDS: Final = 60
# Of one subject, at once.
MOST: Final = 16


class Link(NamedTuple):
    """What is kept of a link.

    Attributes:
        subject: who asked for it.
        judge: says what they may by the time that it is used; ``None``: nothing any more.
        over_tls: whether it is opened by ``https``.
        expires_at: until when it is good, in seconds since 1970.
    """

    subject: str
    judge: Callable[[], Caller | None]
    over_tls: bool
    expires_at: float


class Links:
    """Those that were given and not used.

    They are in memory: a link is good at the server that gave it, and no longer than that runs.

    Args:
        address: the server's, as this machine reaches it.
    """

    def __init__(self, address: str) -> None:
        self.address: Final = address
        self._given: dict[str, Link] = {}

    def __repr__(self) -> str:
        return f"<Links given={len(self._given)}>"

    def give(self, subject: str, judge: Callable[[], Caller | None], now: float, *, over_tls: bool) -> str:
        """The last part of a new link, 256 random bits; where a subject has too many, its oldest goes."""
        self._given = {text: one for text, one in self._given.items() if one.expires_at > now}
        theirs = [text for text, one in self._given.items() if one.subject == subject]
        for text in theirs[: max(0, len(theirs) - MOST + 1)]:
            del self._given[text]
        given = secrets.token_urlsafe(32)
        self._given[given] = Link(subject, judge, over_tls, now + LIFE_SECONDS)
        return given

    def take(self, text: str, now: float) -> Link | None:
        """What a link was given for, once; ``None``: it was used, or has expired, or never was."""
        link = self._given.pop(text, None)
        return link if link is not None and now < link.expires_at else None
