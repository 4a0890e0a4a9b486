"""The statement whose result a COPY writes into a file: the columns of a session for those who analyse.

Both engines give the same values and, but for how a fraction within metadata is spelled, the same text.
"""

from collections.abc import Callable
from typing import Final, Literal, NamedTuple

from oneiric.contract import UNKNOWN
from session_buddy.history.export import Form
from session_buddy.history.query import Query
from session_buddy.store.conditions import NUMBERS, Condition, Json, of_terms

# A word is a text of a closed set, or of letters alone.
Kind = Literal["text", "word", "integer", "number", "time", "json"]
# Microseconds, in 15 digits: all that a double tells.
_SECONDS: Final = "CAST({} AS decimal(18, 6))"
# What spreadsheets take for the beginning of a formula, some of them of full width, too.
_FORMULA: Final = ", ".join(str(ord(sign)) for sign in "=+-@\t\n\r＝＋－＠")  # noqa: RUF001 - meant


class Writer(NamedTuple):
    """How an engine writes what the engines do not write alike, as text and as its own type.

    Attributes:
        time: an expression for a time as ISO 8601 in UTC with offset, of its column's name.
        typed_time: the same for a file that has types.
        metadata: an expression for the metadata, that of the end over that of the start.
        order: in which order; the same whenever the same history is asked the same.
    """

    time: Callable[[str], str]
    typed_time: Callable[[str], str]
    metadata: str
    order: str


class Column(NamedTuple):
    """A column of a file: its kind, an expression, and what stands there where that is nothing."""

    kind: Kind
    expression: str
    if_none: str | None = None

    @property
    def whole(self) -> str:
        """The expression, or what stands in its place."""
        if self.if_none is None:
            return self.expression
        return f"coalesce(nullif({self.expression}, ''), '{self.if_none}')"


# Named and told as by history.record.SessionRecord; the metadata each engine joins in its own way.
COLUMNS: Final = {
    "session_id": Column("text", "session_id"),
    "person": Column("text", "person"),
    "person_evidence": Column("word", "person_evidence"),
    "username": Column("text", "username", UNKNOWN),
    "uid": Column("integer", "uid"),
    "actor": Column("word", "actor"),
    "agent": Column("text", "agent"),
    "component": Column("text", "component", UNKNOWN),
    "session_type": Column("word", "session_type", UNKNOWN),
    "shell_type": Column("text", "shell_type", UNKNOWN),
    "status": Column("word", "status"),
    "exit_reason": Column("word", "exit_reason"),
    "exit_code": Column("integer", "exit_code"),
    "start_time": Column("time", "start_time"),
    "end_time": Column("time", "end_time"),
    "duration_seconds": Column("number", NUMBERS["duration"].of_any),
    "hostname": Column("text", "hostname", UNKNOWN),
    "pid": Column("integer", "CAST(coalesce(pid, 0) AS bigint)"),
    "python_version": Column("text", "python_version", UNKNOWN),
    "platform": Column("text", "platform", UNKNOWN),
    "cwd": Column("text", "cwd", ""),
    "origin": Column("json", "origin"),
    "parent_session_id": Column("text", "parent_session_id"),
    "reason": Column("text", "reason"),
    "commands": Column("integer", NUMBERS["commands"].of_any),
    "errors": Column("integer", NUMBERS["errors"].of_any),
    "reported_by": Column("text", "subject", UNKNOWN),
    "metadata": Column("json", "metadata"),
}
# In a CSV always in quotes, so that an empty text is told from none.
QUOTED: Final = [name for name, one in COLUMNS.items() if one.kind in ("text", "word", "json")]


def of_export(query: Query, form: Form, json: Json, writer: Writer) -> Condition:
    """The statement that finds what a query means as a form has it, and its parameters."""
    shown = {name: _shown(name, form, writer) for name in COLUMNS}
    select = ", ".join(f"{expression} AS {name}" for name, expression in shown.items())
    conditions, parameters = of_terms(query, json)
    asked = [query.now] * select.count("?")
    return f"SELECT {select} FROM sessions WHERE {conditions} {writer.order}", [*asked, *parameters]  # noqa: S608 - ours


def _shown(name: str, form: Form, writer: Writer) -> str:
    kind, expression, _ = column = COLUMNS[name]
    if name == "metadata":
        return writer.metadata
    if kind == "time":
        return (writer.typed_time if form == "parquet" else writer.time)(expression)
    if kind == "number" and form != "parquet":
        return _SECONDS.format(expression)
    if kind == "text" and form == "csv":
        # What stands for nothing is no formula.
        safe = f"concat('''', {expression})"
        return f"CASE WHEN ascii({expression}) IN ({_FORMULA}) THEN {safe} ELSE {column.whole} END"
    return column.whole
