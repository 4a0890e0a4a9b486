"""A query's terms as conditions of SQL that both engines understand; ``?`` stands for a parameter."""

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from pydantic_core import to_json

from session_buddy.history.keys import Range, Wanted
from session_buddy.history.model import MAX_SKEW
from session_buddy.history.query import Query, Term
from session_buddy.history.search import folded
from session_buddy.history.syntax import Value, path_of
from session_buddy.history.times import Span

# A condition with its parameters.
Condition = tuple[str, list[Any]]
# What stands behind a column of JSON to name a value in it, by the names that lead there, and its parameters.
JsonAt = Callable[[Sequence[str]], Condition]

_DIGITS: Final = re.compile("[0-9a-fA-F]{8}")
_WHOLE_ID: Final = re.compile(".+-[0-9]{8}-[0-9]{6}-[0-9a-f]{8}")
_COLUMNS: Final = {
    "user": "username",
    "account": "username",
    "host": "hostname",
    "component": "component",
    "type": "session_type",
    "shell": "shell_type",
    "agent": "agent",
    "folder": "cwd",
    "actor": "actor",
    "reason": "reason",
}
_IDS: Final = {"id": "session_id", "parent": "parent_session_id"}
_ORIGIN: Final = {"tty": "tty", "from": "ssh_client"}
_TIMES: Final = {"started": "listed_at", "ended": "listed_until"}
# What parts the words of a reason.
PARTING: Final = ",;:()[]\n\t"
_WORDS: Final = "concat(' ', translate(reason, ?, ?), ' ')"
# What JSON has without quotes.
_NO_TEXT: Final = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?|true|false")
_SKEW: Final = MAX_SKEW.total_seconds()


def _seconds(later: str, earlier: str) -> str:
    return f"CAST(extract(epoch FROM ({later} - {earlier})) AS double precision)"


_LASTED: Final = f"""CASE WHEN duration_seconds IS NOT NULL THEN duration_seconds
    WHEN elapsed_seconds IS NOT NULL AND (
        abs({_seconds("last_seen", "start_time")} - elapsed_seconds) > {_SKEW}
        OR {_seconds("start_time", "received_at")} > {_SKEW}
    ) THEN elapsed_seconds
    ELSE greatest(0.0, {_seconds("?", "start_time")}) END"""
_IDLE: Final = f"""CASE WHEN status = 'active' AND (last_activity IS NOT NULL OR commands IS NOT NULL)
    THEN greatest(0.0, least({_seconds("?", "coalesce(last_activity, start_time)")}, {_LASTED})) END"""
# An expression of a number, and how often it asks for the time of the query.
NUMBERS: Final[dict[str, tuple[str, int]]] = {
    "uid": ("uid", 0),
    "pid": ("pid", 0),
    "exit": ("exit_code", 0),
    "commands": ("coalesce(counted_commands, commands)", 0),
    "errors": ("coalesce(counted_errors, errors)", 0),
    "duration": (_LASTED, 1),
    "idle": (_IDLE, 2),
}


def of_terms(query: Query, json_at: JsonAt) -> Condition:
    """What all terms of a query demand, and its place in the list."""
    found = [("status IS NOT NULL", []), *(_of_term(term, query, json_at) for term in query.terms)]
    if query.behind is not None:
        place, session_id = query.behind.listed_at, query.behind.session_id
        # The first bound alone lets most of a large table be skipped.
        found.append(("listed_at <= ? AND (listed_at, session_id) < (?, ?)", [place, place, session_id]))
    return _joined(" AND ", found)


def _of_term(term: Term, query: Query, json_at: JsonAt) -> Condition:
    condition, parameters = _joined(" OR ", [_of_one(term.key, one, query, json_at) for one in term.wanted])
    return f"({condition}) IS NOT TRUE" if term.negated else condition, parameters


def _joined(word: str, conditions: Sequence[Condition]) -> Condition:
    texts = [condition for condition, _ in conditions]
    together = word.join(f"({text})" for text in texts) if len(texts) > 1 else "".join(texts)
    return together, [one for _, parameters in conditions for one in parameters]


def _of_one(key: str, wanted: Wanted, query: Query, json_at: JsonAt) -> Condition:
    if isinstance(wanted, Range):
        return _in_range(key, wanted, query)
    if isinstance(wanted, Span):
        return _at(wanted) if key == "at" else _within(_TIMES[key], wanted)
    return _of_text(key, wanted, query, json_at)


def _of_text(key: str, wanted: Value, query: Query, json_at: JsonAt) -> Condition:
    if key in _ORIGIN:
        return _in_json(_origin(key, json_at), wanted)
    if key.startswith("metadata."):
        return _in_json(_metadata(key, json_at), wanted)
    if wanted.anything:
        return _there(key, query)
    if key == "status":
        return _status(wanted.text, query)
    return _TEXTS[key](wanted)


def _there(key: str, query: Query) -> Condition:
    """Whether anything is known of it."""
    text, times = NUMBERS.get(key) or (_COLUMNS.get(key) or _TIMES.get(key) or _IDS.get(key) or key, 0)
    return f"({text}) IS NOT NULL", [query.now] * times


def _fits(of: str | Condition, wanted: Value) -> Condition:
    """A text as it is wanted: a column, or an expression with its parameters."""
    text, parameters = (of, []) if isinstance(of, str) else of
    if wanted.any_before and wanted.any_behind:
        return f"strpos({text}, ?) > 0", [*parameters, wanted.text]
    if wanted.any_behind:
        return f"starts_with({text}, ?)", [*parameters, wanted.text]
    if wanted.any_before:
        return f"right({text}, {len(wanted.text)}) = ?", [*parameters, wanted.text]
    return f"{text} = ?", [*parameters, wanted.text]


def _as_json(text: str) -> str:
    return to_json(text).decode()


def _user(wanted: Value) -> Condition:
    names = [_fits(name, wanted) for name in ("username", "person", "sudo_user")]
    # As it stands in the JSON, where a quote within a name is escaped.
    inner = _as_json(wanted.text)[1:-1]
    told = f'"name":"{inner}' + '"' * (not wanted.any_behind)
    return _joined(" OR ", [*names, ("strpos(CAST(person_also AS text), ?) > 0", [told])])


def _word(wanted: Value) -> Condition:
    text = " " * (not wanted.any_before) + wanted.text + " " * (not wanted.any_behind)
    blanks = " " * len(PARTING)
    return f"strpos({_WORDS}, ?) > 0", [PARTING, blanks, text.translate(str.maketrans(PARTING, blanks))]


def _id(column: str, wanted: Value) -> Condition:
    text = wanted.text
    if wanted.any_before:
        return _fits(column, wanted)
    if _DIGITS.fullmatch(text):
        return f"right({column}, 8) = ?", [text.lower()]
    if _WHOLE_ID.fullmatch(text):
        return f"{column} = ?", [text]
    return f"starts_with({column}, ?) OR starts_with(right({column}, 8), ?)", [text, text.lower()]


def _metadata(key: str, json_at: JsonAt) -> Condition:
    """A value of the metadata: of the end's, where that has the first name, else of the start's."""
    path = path_of(key)
    (first, name), (value, names) = json_at(path[:1]), json_at(path)
    of_end = f"WHEN (end_metadata{first}) IS NOT NULL THEN (end_metadata{value})"
    text = f"CASE {of_end} ELSE (metadata{value}) END"
    return f"nullif(CAST({text} AS text), 'null')", [*name, *names, *names]


def _origin(key: str, json_at: JsonAt) -> Condition:
    value, names = json_at([_ORIGIN[key]])
    return f"CAST(origin{value} AS text)", names


def _in_json(value: Condition, wanted: Value) -> Condition:
    """A value within JSON, as JSON has it: a text with its quotes, in a list of such, or a number."""
    if wanted.anything:
        return f"{value[0]} IS NOT NULL", value[1]
    whole = '"' * (not wanted.any_before) + _as_json(wanted.text)[1:-1] + '"' * (not wanted.any_behind)
    found = [_fits(value, wanted._replace(text=whole))]
    if not wanted.any_before and not wanted.any_behind and _NO_TEXT.fullmatch(wanted.text):
        found.append(_fits(value, wanted))
    # All values stand in the search text, too, which is read in a fraction of the time.
    demanded: list[Condition] = [("strpos(search_text, ?) > 0", [folded(wanted.text)])]
    if wanted.any_before:
        demanded.append(_fits(value, Value('"', any_behind=True)))
    else:
        in_list = [
            _fits(value, Value("[", any_behind=True)),
            _fits(value, Value(whole, any_before=True, any_behind=True)),
        ]
        found.append(_joined(" AND ", in_list))
    return _joined(" AND ", [*demanded, _joined(" OR ", found)])


def _status(status: str, query: Query) -> Condition:
    if status == "unreachable":
        return "(status = 'active' AND session_id = ANY(?))", [list(query.silent)]
    return "status = ?", [status]


def _in_range(key: str, wanted: Range, query: Query) -> Condition:
    expression, times = NUMBERS[key]
    bounds: list[Condition] = [
        (f"{expression} {sign}{'' if open_ else '='} ?", [*[query.now] * times, limit])
        for sign, open_, limit in ((">", wanted.above, wanted.low), ("<", wanted.below, wanted.high))
        if limit is not None
    ]
    if key == "idle":
        bounds.append(("session_id <> ALL(?)", [list(query.busy)]))
    return _joined(" AND ", bounds)


def _within(column: str, span: Span) -> Condition:
    bounds = [
        (f"{column} {sign} ?", [time])
        for sign, time in ((">=", span.after), ("<", span.before))
        if time is not None
    ]
    return _joined(" AND ", bounds)


def _at(span: Span) -> Condition:
    """Who was in at any time of a span: began before its end, and had not ended when it began."""
    bounds: list[Condition] = []
    if span.before is not None:
        bounds.append(("listed_at < ?", [span.before]))
    if span.after is not None:
        bounds.append(("listed_until IS NULL OR listed_until >= ?", [span.after]))
    return _joined(" AND ", bounds)


_TEXTS: Final[dict[str, Callable[[Value], Condition]]] = {
    **{key: partial(_fits, column) for key, column in _COLUMNS.items()},
    **{key: partial(_id, column) for key, column in _IDS.items()},
    "": lambda wanted: ("strpos(search_text, ?) > 0", [folded(wanted.text)]),
    "exit": partial(_fits, "exit_reason"),
    "reason": _word,
    "user": _user,
}
