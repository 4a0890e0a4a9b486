"""A query's terms as conditions of SQL that both engines understand; ``?`` stands for a parameter."""

import re
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Final, NamedTuple

from pydantic_core import to_json

from session_buddy.history.keys import COLUMN_OF, Range, Wanted
from session_buddy.history.model import MAX_SKEW
from session_buddy.history.query import Query, Term
from session_buddy.history.search import folded
from session_buddy.history.syntax import Value, path_of
from session_buddy.history.times import Span
from session_buddy.store.rows import span_of

# A condition with its parameters.
Condition = tuple[str, list[Any]]

_DIGITS: Final = re.compile("[0-9a-fA-F]{8}")
_WHOLE_ID: Final = re.compile(".+-[0-9]{8}-[0-9]{6}-[0-9a-f]{8}")
_ORIGIN: Final = {"tty": "tty", "from": "ssh_client"}
# What parts the words of a reason.
PARTING: Final = ",;:.!?#/\"'()[]{}<>\n\t"
_WORDS: Final = "concat(' ', translate(reason, ?, ?), ' ')"
# What JSON has without quotes.
_NO_TEXT: Final = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?|true|false")
# What LIKE reads as something else.
_OF_LIKE: Final = re.compile(r"[%_\\]")
_SKEW: Final = MAX_SKEW.total_seconds()


class Json(NamedTuple):
    """How an engine looks into JSON.

    Attributes:
        at: what stands behind a column to name a value in it, by the names that lead there.
        is_slow: whether that takes longer than to search a text.
    """

    at: Callable[[Sequence[str]], Condition]
    is_slow: bool


def _searched(wanted: Value) -> Condition:
    return _contains(("search_text", []), folded(wanted.text))


def _seconds(later: str, earlier: str) -> str:
    return f"CAST(extract(epoch FROM ({later} - {earlier})) AS double precision)"


# How long one that is active has lasted.
_LIVED: Final = f"""CASE WHEN elapsed_seconds IS NOT NULL AND (
        abs({_seconds("last_seen", "start_time")} - elapsed_seconds) > {_SKEW}
        OR {_seconds("start_time", "received_at")} > {_SKEW}
    ) THEN elapsed_seconds
    ELSE greatest(0.0, {_seconds("?", "start_time")}) END"""
_IDLE: Final = f"""CASE WHEN last_activity IS NOT NULL OR commands IS NOT NULL
    THEN greatest(0.0, least({_seconds("?", "coalesce(last_activity, start_time)")}, {_LIVED})) END"""


class Number(NamedTuple):
    """Where a number is found.

    Attributes:
        ended: the column that has it of a session that is over, or of any; ``None``: there is none.
        active: an expression for one that is active, ``None``: the same column.
        is_active: what tells fastest that one is active.
    """

    ended: str | None
    active: str | None = None
    is_active: str = "status = 'active'"

    @property
    def of_any(self) -> str:
        """An expression for any session."""
        if self.ended is not None and self.active is None:
            return self.ended
        active = f"CASE WHEN status = 'active' THEN {self.active} END"
        return active if self.ended is None else f"coalesce({self.ended}, {active})"


NUMBERS: Final = {
    "uid": Number("uid"),
    "pid": Number("pid"),
    "exit": Number("exit_code"),
    "commands": Number("counted_commands", "commands"),
    "errors": Number("counted_errors", "errors"),
    # The first tells DuckDB who is active, 7 ms of a million and 38 without; the second tells PostgreSQL.
    "duration": Number("duration_seconds", _LIVED, "duration_seconds IS NULL AND status = 'active'"),
    "idle": Number(None, _IDLE),
}


def of_terms(query: Query, json: Json) -> Condition:
    """What all terms of a query demand, and its place in the list."""
    found = [("status IS NOT NULL", []), *(_of_term(term, query, json) for term in query.terms)]
    if query.among is not None:
        # The times let most of a large table be skipped.
        among = list(query.among)
        found.append(("start_time BETWEEN ? AND ? AND session_id = ANY(?)", [*span_of(among), among]))
    if query.behind is not None:
        place, session_id = query.behind.listed_at, query.behind.session_id
        # The first bound alone lets most of a large table be skipped.
        found.append(("listed_at <= ? AND (listed_at, session_id) < (?, ?)", [place, place, session_id]))
    return _joined(" AND ", found)


def _of_term(term: Term, query: Query, json: Json) -> Condition:
    condition, parameters = _joined(" OR ", [_of_one(term.key, one, query, json) for one in term.wanted])
    if term.negated:
        # Of a status, which all have, an index tells who has none of these.
        condition = f"NOT ({condition})" if term.key == "status" else f"({condition}) IS NOT TRUE"
    return condition, parameters


def _joined(word: str, conditions: Sequence[Condition]) -> Condition:
    texts = [condition for condition, _ in conditions]
    together = word.join(f"({text})" for text in texts) if len(texts) > 1 else "".join(texts)
    return together, [one for _, parameters in conditions for one in parameters]


def _of_one(key: str, wanted: Wanted, query: Query, json: Json) -> Condition:
    if isinstance(wanted, Range):
        return _in_range(key, wanted, query)
    if isinstance(wanted, Span):
        return _at(wanted) if key == "at" else _within(COLUMN_OF[key], wanted)
    return _of_text(key, wanted, query, json)


def _of_text(key: str, wanted: Value, query: Query, json: Json) -> Condition:
    if key in _ORIGIN:
        return _origin(key, wanted, json)
    if key.startswith("metadata."):
        return _in_json(_metadata(key, json), wanted)
    if wanted.anything:
        return _there(key, query)
    if key == "status":
        return _status(wanted.text, query)
    return _TEXTS[key](wanted) if key in _TEXTS else _fits(COLUMN_OF[key], wanted)


def _there(key: str, query: Query) -> Condition:
    """Whether anything is known of it."""
    text = COLUMN_OF[key] if key in COLUMN_OF else NUMBERS[key].of_any
    return f"({text}) IS NOT NULL", [query.now] * text.count("?")


def _fits(of: str | Condition, wanted: Value) -> Condition:
    """A text as it is wanted: a column, or an expression with its parameters."""
    text, parameters = (of, []) if isinstance(of, str) else of
    if wanted.any_before and wanted.any_behind:
        return _contains((text, parameters), wanted.text)
    if wanted.any_behind:
        return f"starts_with({text}, ?)", [*parameters, wanted.text]
    if wanted.any_before and not _OF_LIKE.search(wanted.text):
        return f"{text} LIKE ?", [*parameters, f"%{wanted.text}"]
    if wanted.any_before:
        return f"right({text}, {len(wanted.text)}) = ?", [*parameters, wanted.text]
    return f"{text} = ?", [*parameters, wanted.text]


def _contains(of: Condition, wanted: str) -> Condition:
    """Whether a text contains another; of LIKE PostgreSQL knows in advance how many will."""
    text, parameters = of
    if _OF_LIKE.search(wanted):
        return f"strpos({text}, ?) > 0", [*parameters, wanted]
    return f"{text} LIKE ?", [*parameters, f"%{wanted}%"]


def _as_json(text: str) -> str:
    return to_json(text).decode()


def _user(wanted: Value) -> Condition:
    names = [_fits("username", wanted)]
    # Said in full, a small index has them: mostly they are the account's.
    for name in ("person", "sudo_user"):
        text, parameters = _fits(name, wanted)
        names.append((f"{name} <> username AND {text}", parameters))
    # As it stands in the JSON, where a quote within a name is escaped.
    inner = _as_json(wanted.text)[1:-1]
    told = f'"name":"{inner}' + '"' * (not wanted.any_behind)
    also = ("person_also IS NOT NULL AND strpos(CAST(person_also AS text), ?) > 0", [told])
    return _joined(" OR ", [*names, also])


def _word(wanted: Value) -> Condition:
    blanks = " " * len(PARTING)
    text = wanted.text.translate(str.maketrans(PARTING, blanks))
    word = " " * (not wanted.any_before) + text + " " * (not wanted.any_behind)
    # Nearly all are told apart by the longest of its words, which is quick.
    longest = max(text.split() or [""], key=len)
    whole: Condition = f"strpos({_WORDS}, ?) > 0", [PARTING, blanks, word]
    return _joined(" AND ", [_contains(("reason", []), longest), whole])


def _id(column: str, wanted: Value) -> Condition:
    text = wanted.text
    if wanted.any_before:
        return _fits(column, wanted)
    if _DIGITS.fullmatch(text):
        return f"right({column}, 8) = ?", [text.lower()]
    if _WHOLE_ID.fullmatch(text):
        return f"{column} = ?", [text]
    return f"starts_with({column}, ?) OR starts_with(right({column}, 8), ?)", [text, text.lower()]


def _metadata(key: str, json: Json) -> Condition:
    """A value of the metadata: of the end's, where that has the first name, else of the start's."""
    path = path_of(key)
    (first, name), (value, names) = json.at(path[:1]), json.at(path)
    of_end = f"WHEN (end_metadata{first}) IS NOT NULL THEN (end_metadata{value})"
    text = f"CASE {of_end} ELSE (metadata{value}) END"
    return f"nullif(CAST({text} AS text), 'null')", [*name, *names, *names]


def _origin(key: str, wanted: Value, json: Json) -> Condition:
    value = f"(origin->>'{_ORIGIN[key]}')"
    if wanted.anything:
        return f"{value} IS NOT NULL", []
    found = _fits(value, wanted)
    return _joined(" AND ", [_searched(wanted), found]) if json.is_slow else found


def _in_json(value: Condition, wanted: Value) -> Condition:
    """A value within JSON, as JSON has it: a text with its quotes, in a list of such, or a number."""
    if wanted.anything:
        return f"{value[0]} IS NOT NULL", value[1]
    inner = _as_json(wanted.text)[1:-1]
    quoted = wanted._replace(text='"' * (not wanted.any_before) + inner + '"' * (not wanted.any_behind))
    found = [_fits(value, quoted)]
    if not wanted.any_before and not wanted.any_behind and _NO_TEXT.fullmatch(wanted.text):
        found.append(_fits(value, wanted))
    # All values stand in the search text, too, which is read in a fraction of the time.
    demanded = [_searched(wanted)]
    if wanted.any_before:
        demanded.append(_fits(value, Value('"', any_behind=True)))
    else:
        # Of a list: a quote that stands behind these begins a text, and none within it.
        begun = [_contains(value, f"{before}{quoted.text}") for before in "[,"]
        found.append(_joined(" AND ", [_fits(value, Value("[", any_behind=True)), _joined(" OR ", begun)]))
    return _joined(" AND ", [*demanded, _joined(" OR ", found)])


def _status(status: str, query: Query) -> Condition:
    if status == "unreachable":
        return "(status = 'active' AND session_id = ANY(?))", [list(query.silent)]
    return "status = ?", [status]


def _in_range(key: str, wanted: Range, query: Query) -> Condition:
    number = NUMBERS[key]
    if number.ended is None:
        active = [(number.is_active, []), _compared(number.active or "", wanted, query)]
        # Where nobody is, no ids need be read.
        idle = [("session_id <> ALL(?)", [list(query.busy)])] if query.busy else []
        return _joined(" AND ", [*active, *idle])
    ended = _compared(number.ended, wanted, query)
    if number.active is None:
        return ended
    active = [(number.is_active, []), _compared(number.active, wanted, query)]
    return _joined(" OR ", [ended, _joined(" AND ", active)])


def _compared(expression: str, wanted: Range, query: Query) -> Condition:
    asked = [query.now] * expression.count("?")
    if wanted.low is not None and wanted.low == wanted.high:
        return f"{expression} = ?", [*asked, wanted.low]
    condition, limits = _bounds(
        (f"{expression} {'>' if wanted.above else '>='} ?", wanted.low),
        (f"{expression} {'<' if wanted.below else '<='} ?", wanted.high),
    )
    return condition, [one for limit in limits for one in (*asked, limit)]


def _within(column: str, span: Span) -> Condition:
    return _bounds((f"{column} >= ?", span.after), (f"{column} < ?", span.before))


def _at(span: Span) -> Condition:
    """Who was in at any time of a span: began before its end, and had not ended when it began."""
    return _bounds(("listed_at < ?", span.before), ("listed_until IS NULL OR listed_until >= ?", span.after))


def _bounds(*bounds: tuple[str, float | datetime | None]) -> Condition:
    """Those of the bounds that there are."""
    return _joined(" AND ", [(condition, [limit]) for condition, limit in bounds if limit is not None])


# Those that are more than a column.
_TEXTS: Final[dict[str, Callable[[Value], Condition]]] = {
    "": _searched,
    "user": _user,
    "reason": _word,
    "id": partial(_id, "session_id"),
    "parent": partial(_id, "parent_session_id"),
}
