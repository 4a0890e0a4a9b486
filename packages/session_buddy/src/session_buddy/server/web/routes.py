"""What can be asked for over HTTP beside MCP: of each route who may, what it takes, and what it gives."""

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


@dataclass(frozen=True, slots=True)
class Services:
    """What routes are answered from.

    Attributes:
        register: sessions.
        back_up: makes a backup of the database, in the place of all others if so asked; takes its time.
        deletion: deletes sessions.
        caller_of: who asks, ``None`` if that is not known; or :class:`~session_buddy.errors.Forbidden`.
        metrics: what is counted and measured.
        browsers: that are signed in.
        links: by which one is.
        upkeep: lets backups and deletions be made one at a time; who waits for another holds no thread.
    """

    register: Register
    back_up: Callable[[bool], Backup]
    deletion: Deletion
    caller_of: Callable[[Request], Caller | None]
    metrics: Metrics
    browsers: Browsers
    links: Links
    upkeep: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(1))


@dataclass(frozen=True, slots=True)
class Asked(Generic[G]):
    """One request that may be answered.

    Attributes:
        request: as it came.
        caller: who asks.
        given: what they gave.
        services: what answers.
    """

    request: Request
    caller: Caller
    given: G
    services: Services


@dataclass(frozen=True, slots=True)
class Route(Generic[G]):
    """What is asked for in one way.

    Attributes:
        method: how.
        path: what; words in braces stand for one part each.
        needs: the scopes that it takes, all of them; ``None``: nothing, not even a token.
        tells: what it is, in one line.
        answer: gives the document of the answer, or a whole response.
        takes: what it is given.
        gives: the type of that document; a tuple has the media types of what is no document.
        done: the status where that succeeds.
        refusal: how it is told what went wrong.
        form: whether it takes a page's form, and no JSON.
    """

    method: Method
    path: str
    needs: tuple[Scope, ...] | None
    tells: str
    answer: Callable[[Asked[G]], Awaitable[Any]]
    takes: type[G]
    gives: Any
    done: HTTPStatus = HTTPStatus.OK
    refusal: Callable[[int, str, Mapping[str, str]], Response] = problem
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
