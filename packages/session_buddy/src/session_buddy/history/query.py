"""Queries: which sessions are asked for, as users write it.

The text of a query is parsed here, once, for the command line, agents and programs alike.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import Final, Literal, NamedTuple, Self, cast, get_args

from session_buddy.errors import InvalidQuery
from session_buddy.history.cursor import Cursor
from session_buddy.history.keys import Clock, Range, Wanted, key_named, one_of, read
from session_buddy.history.syntax import Token, Value, cut, values_of
from session_buddy.history.times import TICK, Span, parse_duration

__all__ = ["DEFAULT_LIMIT", "FILTERS", "MAX_LIMIT", "MOST_COUNTED", "SORTS", "Clock", "Query", "Sort", "Term"]

MAX_LIMIT: Final = 10_000
# With a thousand a database plans for seconds, and in gigabytes.
MAX_VALUES: Final = 100
DEFAULT_LIMIT: Final = 50
# To count more takes longer than the list itself.
MOST_COUNTED: Final = 1_000_000

Sort = Literal[
    "started", "ended", "duration", "idle", "commands", "errors", "user", "component", "host", "status"
]
SORTS: Final[tuple[Sort, ...]] = get_args(Sort)

# Filters that are other spellings of a term: by name its key, and what is set before the value.
FILTERS: Final[dict[str, tuple[str, str]]] = {
    "session_type": ("type", ""),
    "component": ("component", ""),
    "username": ("user", ""),
    "host": ("host", ""),
    "status": ("status", ""),
    "since": ("started", ">="),
    "last": ("started", ">="),
    "until": ("started", "<="),
    "at": ("at", ""),
    "reason": ("reason", ""),
    "actor": ("actor", ""),
    "search": ("", ""),
}
_TIMES: Final = ("started", "ended", "at")
_REST_OF_A_TIME: Final = re.compile(r"\d{1,2}:\d\d.*|ago|\d{1,2} ?[ap]m|\.\..*", re.IGNORECASE)
_BEGINNING: Final = datetime.min.replace(tzinfo=UTC)
# What heartbeats tell is on disk only some time later.
_BY_HEARTBEATS: Final = frozenset({"idle", "duration", "commands", "errors"})


class Term(NamedTuple):
    """One condition: what the key looks at is one of ``wanted``, or, negated, none of them.

    ``key`` is empty for a word alone; of metadata it has the path.
    """

    key: str
    wanted: tuple[Wanted, ...]
    negated: bool = False

    def written(self, time: Callable[[datetime], str] = str) -> str:
        """As a query has it; times are absolute, each written by ``time``."""
        values = ",".join(self._value(one, time) for one in self.wanted)
        return f"{'-' * self.negated}{self.key}{':' * bool(self.key)}{values}"

    def _value(self, wanted: Wanted, time: Callable[[datetime], str]) -> str:
        if isinstance(wanted, Range):
            return wanted.written(_length if self.key in ("duration", "idle") else str)
        return f'"{span_text(wanted, time)}"' if isinstance(wanted, Span) else str(wanted)


def _length(seconds: float) -> str:
    """A length of time as a query has it."""
    days, rest = divmod(seconds, 86_400)
    return f"{days:.0f}d{rest:.6f}s"


def span_text(span: Span, time: Callable[[datetime], str] = str) -> str:
    """A span of time as it is written; of ``A..B`` B is included: the parser adds the microsecond."""
    last = span.before and max(span.before, _BEGINNING + TICK) - TICK
    return f"{time(span.after) if span.after else ''}..{time(last) if last else ''}"


@dataclass(frozen=True, slots=True)
class Query:
    """Which sessions, in which order, at most how many.

    Attributes:
        terms: all must fit.
        now: when it is asked: up to when those that are active have lasted.
        sort: by what; newest first unless said otherwise.
        reverse: the other way round.
        limit: at most so many, 1 to 10,000.
        behind: only those behind this place; of the newest first alone.
        silent: the ids that ``unreachable`` means, live sessions that have missed their heartbeats; a server
            sets them.
        busy: the ids of those in which a command runs, none of which is idle; likewise.
        among: only those that have one of these ids; ``None``: any.
    """

    terms: tuple[Term, ...] = ()
    now: datetime | None = None
    sort: Sort = "started"
    reverse: bool = False
    limit: int = DEFAULT_LIMIT
    behind: Cursor | None = None
    silent: frozenset[str] = frozenset()
    busy: frozenset[str] = frozenset()
    among: frozenset[str] | None = None

    @classmethod
    def parse(
        cls,
        query: str = "",
        *,
        clock: Clock,
        sort: str | None = None,
        reverse: bool = False,
        limit: int = DEFAULT_LIMIT,
        cursor: str | None = None,
        **filters: str | None,
    ) -> Self:
        """A query as users write it, and filters beside it, each a key of :data:`FILTERS`.

        An empty filter is none, as agents leave it. ``limit`` is 1 to 10,000; ``cursor`` the
        ``next_cursor`` of an answer.

        Raises:
            InvalidQuery: names the place or the filter, its value and what is allowed.
        """
        if not 1 <= limit <= MAX_LIMIT:
            raise InvalidQuery("limit", limit, f"a number from 1 to {MAX_LIMIT}")
        terms = terms_of(cut(query), clock)
        terms += [
            filtered(name, [value], clock) for name, value in filters.items() if value and value.strip()
        ]
        by = cast("Sort", one_of("sort", sort or "started", SORTS))
        behind = Cursor.parse(cursor) if cursor else None
        if behind and (by != "started" or reverse):
            raise InvalidQuery(
                "cursor", cursor, "one goes with the newest first alone; ask without sort and reverse"
            )
        require_sense(terms)
        return cls(tuple(terms), clock.now, by, reverse, limit, behind)

    def __str__(self) -> str:
        """The text that means these terms."""
        return self.written()

    def written(self, time: Callable[[datetime], str] = str) -> str:
        """The text that means these terms; ``time`` writes a time."""
        return " ".join(term.written(time) for term in self.terms)

    @property
    def newest_first(self) -> bool:
        """Whether it has the order in which a place can be named."""
        return self.sort == "started" and not self.reverse

    @property
    def needs_heartbeats(self) -> bool:
        """Whether it looks at what heartbeats tell."""
        keys = {term.key for term in self.terms}
        unreachable = any(term.key == "status" and Value("unreachable") in term.wanted for term in self.terms)
        return unreachable or self.sort in _BY_HEARTBEATS or not keys.isdisjoint(_BY_HEARTBEATS)


def terms_of(tokens: Sequence[Token], clock: Clock) -> list[Term]:
    """What tokens mean.

    Raises:
        InvalidQuery: names the place, what stands there, and what is allowed.
    """
    for before, token in pairwise(tokens):
        (*_, first), rest = before.values, token.values[0].text
        if before.key in _TIMES and token.is_plain_word and _REST_OF_A_TIME.fullmatch(rest):
            quoted = f'{before.key}:"{first.text} {rest}"'
            raise InvalidQuery(f"query at {token.place}", rest, f"a time with a blank is quoted: {quoted}")
    return [_term(token, clock) for token in tokens]


def filtered(name: str, texts: Sequence[str], clock: Clock) -> Term:
    """The term that a filter stands for; where it is given several times, any of them.

    Raises:
        InvalidQuery: names the filter, its value and what is allowed.
    """
    key_name, prefix = FILTERS[name]
    if not key_name:
        return Term("", tuple(Value(text.strip().strip("*")) for text in texts))
    key = key_named(key_name, name)
    if not all(map(str.strip, texts)):
        raise InvalidQuery(name, "", f"a value is missing, as in {key.example.partition(':')[2]}")
    if name == "last":
        for text in texts:
            parse_duration(name, text)
    # A time may have commas in it.
    values = [
        value
        for text in texts
        for value in ([Value(prefix + text.strip())] if key_name in _TIMES else values_of(key_name, text))
    ]
    return Term(key_name, tuple(read(key, value, clock, name) for value in values))


def require_sense(terms: Sequence[Term]) -> None:
    """Refuse what nothing can be, started since one time and until an earlier one, and more than is of use.

    Raises:
        InvalidQuery: it is so.
    """
    if (many := sum(len(term.wanted) for term in terms)) > MAX_VALUES:
        raise InvalidQuery("query", f"{many} values", f"at most {MAX_VALUES}")
    spans = [
        one
        for term in terms
        if term.key == "started" and not term.negated and len(term.wanted) == 1
        for one in term.wanted
        if isinstance(one, Span)
    ]
    since = max((span.after for span in spans if span.after), default=None)
    until = min((span.before for span in spans if span.before), default=None)
    if since and until and since >= until:
        raise InvalidQuery("since", since.isoformat(), f"it is not before until, {until.isoformat()}")


def _term(token: Token, clock: Clock) -> Term:
    place = f"query at {token.place}"
    if not token.key:
        if not token.values[0].text:
            raise InvalidQuery(place, str(token.values[0]), "a word that is looked for has letters")
        return Term("", (Value(token.values[0].text),), token.negated)
    key = key_named(token.key, place)
    name = token.key if token.key.startswith("metadata.") else key.name
    return Term(name, tuple(read(key, value, clock) for value in token.values), token.negated)
