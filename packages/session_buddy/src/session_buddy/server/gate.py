"""Authenticates requests of both listeners and bounds their bodies, in front of the application."""

import json
import secrets
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from fastmcp.server.auth import AccessToken, TokenVerifier
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from session_buddy.access.browsers import Browsers
from session_buddy.access.callers import Caller, asking, local_caller
from session_buddy.access.keyring import Keyring
from session_buddy.errors import Forbidden, TokenRefused
from session_buddy.server.front import is_same
from session_buddy.server.listeners import is_local
from session_buddy.server.web.problems import MEDIA_TYPE, document

MAX_BODY_BYTES: Final = 4 * 1024 * 1024
TOO_LARGE: Final = f"a request carries at most {MAX_BODY_BYTES} bytes"
NOT_A_REQUEST: Final = {
    "jsonrpc": "2.0",
    "id": None,
    "error": {
        "code": -32600,
        "message": 'the body is not a JSON-RPC request: one object with "jsonrpc", "id" (a text or a whole'
        ' number), "method" (a text) and, if need be, "params" (an object)',
    },
}
# How the MCP library begins its answer to such a body: a page of what each field could have been.
_VALIDATION: Final = b'"message":"Validation error: '
# Of Sec-Fetch-Site: a page of this address, or the person, who typed it or has it as a bookmark.
_OWN_PAGES: Final = ("same-origin", "none")
_READING: Final = ("GET", "HEAD")
UNAUTHORIZED: Final = (
    "a valid token is needed in the header `Authorization: Bearer TOKEN`;"
    " print one where the server runs, with: session-buddy token show"
)


class Authenticator(TokenVerifier):
    """Tells callers by their tokens; requests through the socket are given one that only this process has.

    That one is a random text, no signed token: it needs no secret, never expires, and nobody outside can
    make it. Cookies are valid for the history ``instance``. ``refused`` counts requests by why their
    token was refused, ``missing`` where they had none.
    """

    def __init__(self, keyring: Keyring, instance: str = "") -> None:
        super().__init__()
        self._keyring = keyring
        self.refused: Final[Counter[str]] = Counter()
        self.browsers: Final = Browsers(keyring, instance)
        self.local_token: Final = secrets.token_urlsafe(32)

    @property
    def state_keys(self) -> list[str]:
        """The secrets, the one first that servers of a history share."""
        return self._keyring.secrets

    def caller(self, token: str) -> Caller | None:
        """Whom a token names, ``None`` if it is not valid."""
        if secrets.compare_digest(token.encode(errors="replace"), self.local_token.encode()):
            return local_caller()
        try:
            return self._keyring.judge(token)
        except TokenRefused:
            return None

    def why_not(self, authorization: str) -> str:
        """Why what a refused request shows was, where that was a token of ours; else empty; counts it."""
        token = authorization.partition(" ")[2]
        try:
            self._keyring.judge(token)
        except TokenRefused as error:
            self.refused[error.cause if token else "missing"] += 1
            return str(error)
        # It was shown in another way than is asked for.
        self.refused["missing"] += 1
        return ""

    def caller_of(self, request: Request) -> Caller | None:
        """Whom the bearer token of a request names, else its cookie; ``None`` if that is not valid.

        Raises:
            Forbidden: the cookie is good, but no page of this server asks.
        """
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return self.caller(token)
        cookie = request.cookies.get(self.browsers.cookie)
        caller = self.browsers.caller(cookie) if cookie else None
        if caller is not None:
            _require_own_page(request)
        return caller

    async def verify_token(self, token: str) -> AccessToken | None:
        """The same, as the MCP library asks it."""
        caller = self.caller(token)
        if caller is None:
            return None
        asking.set(caller.subject)
        return AccessToken(token=token, client_id=caller.subject, scopes=sorted(caller.scopes))


def _require_own_page(request: Request) -> None:
    """Refuse what another page has a browser send with the cookie that it has of us.

    ``SameSite`` keeps the cookie from other sites, but another port of this host is the same site.
    """
    if request.headers.get("sec-fetch-site", _OWN_PAGES[0]) not in _OWN_PAGES:
        raise Forbidden("a page of another address led here: go to this address from a page of this server")
    origin, host = (request.headers.get(name, "") for name in ("origin", "host"))
    if request.method not in _READING and not is_same(origin, host):
        raise Forbidden("with a cookie, only a page of this very address may change something (Origin)")


class Gate:
    """ASGI: gives requests through the Unix socket this user's token, and bounds every body.

    ``why_not`` says of the Authorization header of a refused request why it was refused, if that is
    known.
    """

    def __init__(self, app: ASGIApp, local_token: str, why_not: Callable[[str], str] = lambda _: "") -> None:
        self._app = app
        self._token = b"Bearer " + local_token.encode()
        self._why_not = why_not

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if is_local(scope.get("server")):
            others = [(name, value) for name, value in scope["headers"] if name != b"authorization"]
            scope = {**scope, "headers": [*others, (b"authorization", self._token)]}
        # One address, however written. A redirect would lose the token, and https behind a proxy.
        path = scope["path"].rstrip("/") or "/"
        await self._bounded({**scope, "path": path}, receive, send)

    async def _bounded(self, scope: Scope, receive: Receive, send: Send) -> None:
        came: list[bytes] = []
        answer, seen = _Answer(send, came, lambda: self._why_not(_authorization(scope))), 0

        async def counted() -> Message:
            nonlocal seen
            message: Message = {"type": "http.disconnect"} if answer.refused else await receive()
            part = message.get("body", b"")
            seen += len(part)
            if seen <= MAX_BODY_BYTES:
                came.append(part)
                return message
            await answer.refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, TOO_LARGE)
            return {"type": "http.disconnect"}

        if _announced_size(scope) > MAX_BODY_BYTES:
            await answer.refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, TOO_LARGE)
        else:
            await self._app(scope, counted, answer)


class _Answer:
    """What goes back to a caller: what the application says, until it is refused, which ends it.

    Whoever is refused for want of a token is told how to get one, or, as ``reason``, what became of theirs;
    libraries would speak of registration. A page says it itself. Whoever sends what is no request is told so
    in one line, also one whose id can be no id: the library takes it for a notification, and answers nothing.
    """

    def __init__(self, send: Send, came: Sequence[bytes], why_not: Callable[[], str]) -> None:
        self._send = send
        self._came = came
        self._why_not = why_not
        self._begun = False
        self._held: Message | None = None
        self.refused = False

    async def __call__(self, message: Message) -> None:
        """Pass a part of the application's answer on."""
        status = message.get("status")
        if status == HTTPStatus.UNAUTHORIZED and not _is_page(message):
            reason = self._why_not()
            more = {"reason": reason} if reason else {}
            await self._refuse(
                status, document(status, f"{reason}; {UNAUTHORIZED}" if reason else UNAUTHORIZED, **more)
            )
        elif status == HTTPStatus.BAD_REQUEST:
            # What it is about stands in the body, which comes next.
            self._held = message
        elif self._is_no_request(message):
            await self._refuse(HTTPStatus.BAD_REQUEST, NOT_A_REQUEST)
        elif not self.refused:
            self._begun = True
            held, self._held = self._held, None
            if held:
                await self._send(held)
            await self._send(message)

    def _is_no_request(self, message: Message) -> bool:
        if message.get("status") == HTTPStatus.ACCEPTED:
            return bool({"id", "method"} <= json.loads(b"".join(self._came)).keys())
        return self._held is not None and _VALIDATION in message.get("body", b"")

    async def refuse(self, status: int, error: str) -> None:
        """Answer so, if nothing was answered yet; what comes later is dropped."""
        await self._refuse(status, document(status, error))

    async def _refuse(self, status: int, said: Mapping[str, Any]) -> None:
        begun, self.refused = self._begun or self.refused, True
        if begun:
            return
        body = json.dumps(said).encode()
        kind = MEDIA_TYPE if "detail" in said else "application/json"
        headers = [
            (b"content-type", kind.encode()),
            (b"content-length", b"%d" % len(body)),
            (b"connection", b"close"),
        ]
        if status == HTTPStatus.UNAUTHORIZED:
            headers.append((b"www-authenticate", b"Bearer"))
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})


def _is_page(message: Message) -> bool:
    return any(name == b"content-type" and kind.startswith(b"text/html") for name, kind in message["headers"])


def _authorization(scope: Scope) -> str:
    found = [value for name, value in scope["headers"] if name == b"authorization"]
    return found[0].decode(errors="replace") if found else ""


def _announced_size(scope: Scope) -> int:
    sizes = [value for name, value in scope["headers"] if name == b"content-length" and value.isdigit()]
    return max(map(int, sizes), default=0)
