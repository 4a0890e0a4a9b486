"""Which tokens a server takes: those of its secrets, as they stand now, that were not revoked."""

import logging
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from threading import Event, Lock, Thread
from typing import Final, NamedTuple

from oneiric.paths import Paths
from session_buddy.access.callers import Caller
from session_buddy.access.registry import SHOWN_DIGITS, Registry, Token
from session_buddy.access.secret import OwnShelf
from session_buddy.access.tokens import Claims, kid_of, named_kid, read
from session_buddy.errors import ConfigurationError, SessionBuddyError, TokenRefused
from session_buddy.host.settings import Settings
from session_buddy.host.shelf import Shelf, Texts

# How long a token of an earlier secret keeps its rights to read and to administer; that to report it keeps.
GRACE_SECONDS: Final = 3600
_LOOK_SECONDS: Final = 0.4
_CLOSE_SECONDS: Final = 1.0

log = logging.getLogger("session_buddy.access")


class _Known(NamedTuple):
    """What counts just now.

    Attributes:
        secrets: by their names in tokens; of an earlier one with when it was replaced.
        refused: names of secrets whose tokens are refused.
        revoked: ids of tokens, with when.
        tokens: all that are listed.
    """

    secrets: dict[str, tuple[str, int | None]]
    refused: frozenset[str]
    revoked: dict[str, int]
    tokens: Sequence[Token] = ()


class Keyring:
    """Judges tokens; a thread looks every 0.4 s whether a shelf has changed.

    What cannot be read leaves what was known of all: while a database is away, nobody gets in who could not,
    and nobody is shut out.

    Args:
        fixed: secrets that do not change.
        shelves: where the others stand.

    Raises:
        SessionBuddyError: a shelf cannot be read.
    """

    def __init__(self, fixed: Sequence[str], shelves: Sequence[Shelf] = ()) -> None:
        self._fixed = fixed
        self._shelves = shelves
        self._stamps: list[object] = []
        self._failing = False
        self._looking = Lock()
        self._closing = Event()
        self._thread: Thread | None = None
        self._known = _Known({}, frozenset(), {})
        self.look()

    def __repr__(self) -> str:
        return f"<Keyring secrets={len(self._known.secrets)} revoked={len(self._known.revoked)}>"

    @property
    def secrets(self) -> list[str]:
        """Those that count, the one that servers of a history share first; earlier ones last."""
        known = sorted(self._known.secrets.values(), key=lambda one: one[1] is not None)
        return [secret for secret, _ in known]

    @property
    def tokens(self) -> Sequence[Token]:
        """Those that are listed, in no order."""
        return self._known.tokens

    def start(self) -> None:
        """Begin to look."""
        self._thread = Thread(target=self._run, name="session-buddy-keyring", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread; closing twice is allowed."""
        self._closing.set()
        if self._thread is not None:
            # One that hangs in the network ends with the process.
            self._thread.join(_CLOSE_SECONDS)

    def look(self) -> None:
        """Read the shelves, if one has changed.

        Raises:
            SessionBuddyError: one cannot be read.
        """
        # One at a time, else what was read first could be kept last.
        with self._looking:
            # Before what they stand for: a change in between is seen the next time.
            stamps = [shelf.stamp() for shelf in self._shelves]
            if stamps != self._stamps or not self._known.secrets:
                self._known = _known(self._fixed, [Registry.of(shelf.read()) for shelf in self._shelves])
                self._stamps = stamps

    def change(self, work: Callable[[Texts], Texts]) -> None:
        """Have what is kept of tokens changed, where the servers of this history look, and take it up.

        Raises:
            SessionBuddyError: it cannot be written, or there is no such place.
        """
        if not self._shelves:
            raise ConfigurationError("tokens cannot be listed: this user's own secret cannot be read")
        self._shelves[0].change(work)
        self.look()

    def judge(self, token: str, now: float | None = None) -> Caller:
        """Whom a bearer's token names, and what it allows now.

        Raises:
            TokenRefused: as :meth:`accepted`.
        """
        now = time.time() if now is None else now
        claims, replaced_at = self.accepted(token, now)
        if is_graced(replaced_at, now):
            return claims.caller
        # Live sessions go on, and end properly.
        reports = claims.scopes & {"track", "admin"}
        why = "an earlier secret made it, and may only report"
        return Caller(claims.subject, frozenset({"track"} if reports else ()), why, claims.expires_at)

    def accepted(self, token: str, now: float, audience: str | None = None) -> tuple[Claims, int | None]:
        """What a token says, and when its secret was replaced, if it was.

        Args:
            token: as it was shown.
            now: in seconds since 1970.
            audience: for whom it has to be made; ``None``: a bearer's.

        Raises:
            TokenRefused: it is none of ours, for another audience, expired, or revoked.
        """
        known = self._known
        kid = named_kid(token)
        if kid in known.refused:
            raise TokenRefused(
                "the token was made by an earlier secret, whose tokens are refused", "replaced"
            )
        claims, replaced_at = _read(token, kid, known)
        if claims.audience != audience:
            raise TokenRefused(
                "what was made for one browser and one history is good nowhere else", "unknown"
            )
        which = f"the token {claims.id[:SHOWN_DIGITS]} of {claims.subject}"
        if claims.id in known.revoked:
            raise TokenRefused(f"{which} was revoked at {_utc(known.revoked[claims.id])}", "revoked")
        if claims.expires_at <= now:
            raise TokenRefused(f"{which} expired at {_utc(claims.expires_at)}", "expired")
        return claims, replaced_at

    def _run(self) -> None:
        while not self._closing.wait(_LOOK_SECONDS):
            try:
                self.look()
            except SessionBuddyError as error:
                if not self._failing and not self._closing.is_set():
                    log.warning("cannot look which tokens were revoked; what was known counts: %s", error)
                self._failing = True
            else:
                self._failing = False


def keyring_of(settings: Settings, paths: Paths, of_history: Shelf | None) -> Keyring:
    """What a server takes tokens of, and looks at: the configured secret, the history's, and this user's own.

    The own one too, so that this user's clients go on when a server is started with another
    ``SESSION_BUDDY_SECRET``: only this user can read it.

    Raises:
        ConfigurationError: there is none, or what is kept of tokens cannot be read.
        StoreError: the history's cannot be read.
    """
    fixed = [settings.secret.get_secret_value()] if settings.secret else []
    others: list[Shelf] = [] if of_history is None else [of_history]
    own = OwnShelf(paths)
    try:
        keyring = Keyring(fixed, [*others, own])
    except ConfigurationError:
        # What was revoked there stays revoked.
        if own.has_tokens or not (fixed or others):
            raise
        keyring = Keyring(fixed, others)
    keyring.start()
    return keyring


def is_graced(replaced_at: int | None, now: float) -> bool:
    """Whether tokens of a secret that was replaced, or was not, have all their rights."""
    return replaced_at is None or now < replaced_at + GRACE_SECONDS


def _known(fixed: Sequence[str], registries: Sequence[Registry]) -> _Known:
    earlier = [one for registry in registries for one in registry.earlier]
    secrets: dict[str, tuple[str, int | None]] = {
        one.kid: (one.secret, one.replaced_at) for one in earlier if one.secret
    }
    present = [*fixed, *(registry.secret for registry in registries)]
    secrets |= {kid_of(secret): (secret, None) for secret in present}
    tokens = [one for registry in registries for one in registry.tokens]
    return _Known(
        secrets,
        frozenset(one.kid for one in earlier) - secrets.keys(),
        {one.id: one.revoked_at for one in tokens if one.revoked_at is not None},
        tokens,
    )


def _read(token: str, kid: str | None, known: _Known) -> tuple[Claims, int | None]:
    """What a token says, and when its secret was replaced."""
    tried = known.secrets.values() if kid is None else [known.secrets[kid]] if kid in known.secrets else []
    for secret, replaced_at in tried:
        if claims := read(secret, token):
            return claims, replaced_at
    raise TokenRefused("")


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
