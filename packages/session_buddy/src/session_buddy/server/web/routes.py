"""What a route over HTTP is: the scopes it needs, the parameters it takes, and what it gives."""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Generic, Literal, TypeVar, get_args, get_type_hints

from anyio import CapacityLimiter
from pydantic import BaseModel, ConfigDict
from starlette.requests import Request
from starlette.responses import Response

from session_buddy.access.browsers import Browsers
from session_buddy.access.callers import Caller, Scope
from session_buddy.access.links import Links
from session_buddy.keep.backups import Backup
from session_buddy.keep.deletion import Deletion
from session_buddy.server.metrics.gathering import Metrics
from session_buddy.server.register import Register
from session_buddy.server.web.problems import problem

Method = Literal["GET", "POST"]


class Given(BaseModel):
    """What a route takes: of a GET the parameters behind ``?``, else the body's JSON object, or its form."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Nothing(Given):
    """No parameters."""


G = TypeVar("G", bound=Given)
# Makes the answer that says what went wrong, of its status, a line and headers.
Refusal = Callable[[int, str, Mapping[str, str]], Response]


@dataclass(frozen=True, slots=True)
class Services:
    """What routes are answered from.

    ``back_up`` makes a backup of the database, in the place of all others if given ``True``; it blocks.
    ``caller_of`` is ``None`` where nobody is known, or raises :class:`~session_buddy.errors.Forbidden`.
    ``upkeep`` lets one backup or deletion run at a time; those that wait hold no thread.
    ``exports`` is how many files are being made for a subject, or sent.
    """

    register: Register
    back_up: Callable[[bool], Backup]
    deletion: Deletion
    caller_of: Callable[[Request], Caller | None]
    metrics: Metrics
    browsers: Browsers
    links: Links
    upkeep: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(1))
    exports: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Asked(Generic[G]):
    """One request whose caller may make it, with the parameters that it brought."""

    request: Request
    caller: Caller
    given: G
    services: Services


@dataclass(frozen=True, slots=True)
class Route(Generic[G]):
    """One method of one path; words of the path in braces stand for one part each.

    Attributes:
        needs: the scopes that it takes, all of them; ``None``: nothing, not even a token.
        tells: what it is for, in one line.
        answer: gives the document of the answer, or a whole response.
        gives: the type of that document; a tuple has the media types of what is no document.
        done: the status where that succeeds.
        refusal: makes the answer that says what went wrong.
        form: whether it takes a page's form instead of JSON.
    """

    method: Method
    path: str
    needs: tuple[Scope, ...] | None
    tells: str
    answer: Callable[[Asked[G]], Awaitable[Any]]
    takes: type[G]
    gives: Any
    done: HTTPStatus = HTTPStatus.OK
    refusal: Refusal = problem
    form: bool = False

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


def route(
    method: Method,
    path: str,
    tells: str,
    answer: Callable[[Asked[G]], Awaitable[Any]],
    *,
    needs: tuple[Scope, ...] | None = ("read",),
    gives: object = None,
    done: HTTPStatus = HTTPStatus.OK,
) -> Route[G]:
    """The route that ``answer`` answers: it takes what its ``Asked`` holds, and gives what it returns."""
    asked, returned = get_type_hints(answer).values()
    (takes,) = get_args(asked)
    return Route(method, path, needs, tells, answer, takes, gives or returned, done)
