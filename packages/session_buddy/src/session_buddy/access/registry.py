"""Which tokens were made, and which secrets signed them before the present one: what is kept of both.

It is kept as texts by key, in a file or in the history's database: ``secret`` is the present secret,
``secret:<kid>`` an earlier one (:class:`Earlier`, as JSON), ``token:<jti>`` what is told of a token
(:class:`Token`, as JSON), which is not the token itself.
"""

import difflib
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Literal, NamedTuple, TypeVar

from session_buddy.access.callers import SCOPES
from session_buddy.access.tokens import Claims, kid_of, read
from session_buddy.errors import AmbiguousToken, ConfigurationError, UnknownToken
from session_buddy.host.shelf import Texts

State = Literal["valid", "expired", "revoked", "made by an earlier secret"]

SECRET: Final = "secret"  # noqa: S105 - a key
EARLIER: Final = "secret:"
TOKEN: Final = "token:"  # noqa: S105 - the same
SHOWN_DIGITS: Final = 8
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Token:
    """What is kept of a token.

    Attributes:
        id: its ``jti``.
        subject: whom it names.
        scopes: what it allows.
        name: what it is called; ``None``: nothing.
        made_at: when, in seconds since 1970.
        expires_at: until when it is good, likewise.
        revoked_at: since when it is refused; ``None``: it is not.
        kid: which secret signed it.
        audience: as of :class:`session_buddy.access.tokens.Claims`.
    """

    id: str
    subject: str
    scopes: Sequence[str]
    name: str | None
    made_at: float
    expires_at: int
    revoked_at: int | None
    kid: str
    audience: str | None = None

    @classmethod
    def of(cls, claims: Claims, secret: str, name: str | None = None) -> "Token":
        """What is kept of a token that was signed with a secret."""
        scopes = [scope for scope in SCOPES if scope in claims.scopes]
        made_at, expires_at, kid = claims.made_at, claims.expires_at, kid_of(secret)
        return cls(claims.id, claims.subject, scopes, name, made_at, expires_at, None, kid, claims.audience)

    def state(self, kids: Iterable[str], now: float) -> State:
        """How it stands, where the secrets of ``kids`` are in use."""
        if self.revoked_at is not None:
            return "revoked"
        if self.expires_at <= now:
            return "expired"
        return "valid" if self.kid in kids else "made by an earlier secret"

    @property
    def texts(self) -> Texts:
        """As it is kept."""
        return {f"{TOKEN}{self.id}": json.dumps(asdict(self))}


class Earlier(NamedTuple):
    """A secret that was replaced.

    Attributes:
        kid: what tokens name it by.
        secret: itself; empty where its tokens are refused.
        replaced_at: when, in seconds since 1970.
    """

    kid: str
    secret: str
    replaced_at: int

    def __repr__(self) -> str:
        return f"<Earlier({self.kid})>"


class Registry(NamedTuple):
    """What a shelf has.

    Attributes:
        secret: the present one.
        earlier: those before it, in no order.
        tokens: those that were made or revoked, in no order.
    """

    secret: str
    earlier: Sequence[Earlier]
    tokens: Sequence[Token]

    def __repr__(self) -> str:
        return f"<Registry earlier={len(self.earlier)} tokens={len(self.tokens)}>"

    @classmethod
    def of(cls, texts: Mapping[str, str]) -> "Registry":
        """What the texts of a shelf say.

        Raises:
            ConfigurationError: one of them is damaged, or there is no secret.
        """
        secret = texts.get(SECRET)
        if secret is None:
            raise ConfigurationError("the database is damaged: it has no secret to sign tokens with")
        # Whoever was killed in the midst of a rotation has left the present one among them.
        earlier = [one for one in _parsed(texts, EARLIER, Earlier) if one.kid != kid_of(secret)]
        return cls(secret, earlier, _parsed(texts, TOKEN, Token))

    def named(self, ids: Iterable[str]) -> list[Token]:
        """The tokens that have these ids."""
        wanted = set(ids)
        return [one for one in self.tokens if one.id in wanted]

    def claims_of(self, token: str) -> tuple[Claims, str] | None:
        """What a token says that one of the secrets signed, and which of them."""
        for secret in (self.secret, *(one.secret for one in self.earlier if one.secret)):
            if claims := read(secret, token):
                return claims, secret
        return None


def _parsed(texts: Mapping[str, str], prefix: str, kind: type[T]) -> list[T]:
    found = []
    for key, text in texts.items():
        if key.startswith(prefix):
            try:
                said = json.loads(text)
                # What a later version says more, it says for itself; what an earlier one lacks has a default.
                found.append(kind(**{name: said[name] for name in kind.__annotations__ if name in said}))
            except (ValueError, TypeError, KeyError):
                raise ConfigurationError(
                    f"what is kept of tokens is damaged at {key!r}: take it away; if it was one that is"
                    " revoked, that is forgotten with it"
                ) from None
    return found


def kept(secret: str, token: str, name: str | None) -> Texts:
    """What is kept of a token that was made with a secret just now."""
    claims = read(secret, token)
    if claims is None:
        raise ConfigurationError("secret: what is signed with it cannot be read again; replace it")
    # Its own time is in whole seconds; the list has the order.
    return replace(Token.of(claims, secret, name), made_at=round(time.time(), 3)).texts


def revoked(texts: Mapping[str, str], tokens: Iterable[Token]) -> Texts:
    """What changes when these tokens are revoked now, also such as are not there yet."""
    changes = Texts()
    for token in tokens:
        (kept,) = Registry.of({**token.texts, **texts, SECRET: ""}).named([token.id])
        if kept.revoked_at is None:
            changes |= replace(kept, revoked_at=int(time.time())).texts
    return changes


def rotated(texts: Mapping[str, str], new: str, *, at_once: bool) -> Texts:
    """What changes when a new secret takes the place of the present one.

    Args:
        texts: what there is.
        new: the secret.
        at_once: whether tokens of all earlier ones are refused from now on.
    """
    found = Registry.of(texts)
    replaced = Earlier(kid_of(found.secret), found.secret, int(time.time()))
    changes = {SECRET: new}
    for one in (*found.earlier, replaced) if at_once else [replaced]:
        kept = one._replace(secret="") if at_once else one
        changes[f"{EARLIER}{one.kid}"] = json.dumps(kept._asdict())
    if at_once:
        kids = {one.kid for one in (*found.earlier, replaced)}
        changes |= revoked(texts, [one for one in found.tokens if one.kid in kids])
    return changes


def find(ref: str, tokens: Sequence[Token]) -> Token:
    """The one token whose id begins so.

    Raises:
        UnknownToken: none does; names the nearest.
        AmbiguousToken: several do.
    """
    found = [one for one in tokens if ref and one.id.startswith(ref.lower())]
    if len(found) > 1:
        raise AmbiguousToken(ref, [one.id for one in found])
    if not found:
        raise UnknownToken(ref, _nearest(ref, tokens))
    return found[0]


def _nearest(ref: str, tokens: Sequence[Token]) -> list[str]:
    by_text: dict[str, Any] = {}
    for one in tokens:
        label = f"{one.id[:SHOWN_DIGITS]} ({one.name or one.subject})"
        by_text |= dict.fromkeys((one.id, one.id[: len(ref)], one.subject, one.name or ""), label)
    close = difflib.get_close_matches(ref, by_text, n=6, cutoff=0.6)
    return list(dict.fromkeys(by_text[text] for text in close))[:3]
