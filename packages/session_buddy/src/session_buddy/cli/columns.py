"""What stands in the columns of a table of sessions."""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from session_buddy.cli.text import in_zone
from session_buddy.history.query import Clock
from session_buddy.history.record import WHO, who
from session_buddy.history.words import (
    MISSING,
    Record,
    came_from,
    ending,
    human_duration,
    idle,
    shown,
    status_of,
)

TIMES: Final = ("start_time", "end_time", "last_seen", "last_activity")
_LENGTHS: Final = ("duration_seconds", "idle_seconds")
# Of fields that somebody chose, these are never cut, nor is any number, which has less than so many digits.
_WHOLE: Final = ("session_id", "parent_session_id", "status", *TIMES, *_LENGTHS)
_LEAST_CHOSEN: Final = 16


class Column(NamedTuple):
    """One column.

    Attributes:
        title: its heading.
        text: what stands in it, of a session.
        short: what it says where there is less room; ``None``: the same.
        least: the fewest cells that its text may be cut to, twice that as long as no column has left;
            ``None``: it is not cut.
    """

    title: str
    text: Callable[[Record, Clock], str]
    short: Callable[[Record, Clock], str] | None = None
    least: int | None = None


class Layout(NamedTuple):
    """The columns of a table, and in which order they leave where there is no room.

    Attributes:
        columns: all of them.
        spare: those that leave before texts are cut to their least.
        leaving: those that leave where that is not enough.
    """

    columns: Sequence[Column]
    spare: Sequence[str]
    leaving: Sequence[str]


def since(iso: str, moment: Clock) -> str:
    """A time as short as today allows: no date today, no year this year."""
    time, today = in_zone(iso, moment.zone), moment.now.astimezone(moment.zone)
    if time.date() == today.date():
        return f"{time:%H:%M}"
    return f"{time:%m-%d %H:%M}" if time.year == today.year else f"{time:%Y-%m-%d %H:%M}"


def _field(name: str) -> Callable[[Record, Clock], str]:
    return lambda record, _: shown(record.get(name))


_WHO: Final = Column("who", lambda record, _: shown(who(record)), least=12)
_COMPONENT: Final = Column("component", _field("component"), least=10)
_HOST: Final = Column("host", _field("hostname"), least=8)
_REASON: Final = Column("reason", _field("reason"), least=10)
_TYPE: Final = Column("type", _field("session_type"), least=8)
_SINCE: Final = Column("since", lambda record, moment: since(record["start_time"], moment))
_STATUS: Final = Column("status", lambda record, _: ending(record), lambda record, _: status_of(record))
_LASTED: Final = Column("lasted", lambda record, _: human_duration(record.get("duration_seconds") or 0.0))
_IDLE: Final = Column("idle", lambda record, _: idle(record))
_FROM: Final = Column("from", lambda record, _: came_from(record), least=8)
_ID: Final = Column("session", _field("session_id"), lambda record, _: shown(record["session_id"][-8:]))

LIST: Final = Layout(
    (_WHO, _COMPONENT, _HOST, _REASON, _TYPE, _SINCE, _STATUS, _LASTED, _IDLE, _ID),
    ("type", "idle", "lasted"),
    ("reason", "host", "component", "status", "since"),
)
NOW: Final = Layout(
    (_WHO, _COMPONENT, _HOST, _SINCE, _IDLE, _FROM, _REASON, _ID),
    ("from",),
    ("reason", "host", "component", "since", "idle"),
)
# The titles of columns that lists are sorted by, where they are other words.
_SORTED: Final = {"user": "who", "started": "since", "ended": "end time", "duration": "lasted"}
# These are left out where they say nothing of anybody, or the same of all.
_IF_ANY: Final = ("reason", "idle", "from")
_IF_DIFFERENT: Final = ("type",)


def that_say_something(columns: Sequence[Column], records: Sequence[Record], moment: Clock) -> list[Column]:
    """The columns without those that are empty, and without the type where all are alike."""

    def says(column: Column) -> bool:
        if column.title not in (*_IF_DIFFERENT, *_IF_ANY):
            return True
        said = {column.text(record, moment) for record in records}
        if column.title in _IF_DIFFERENT:
            return len(said) > 1
        return said != {MISSING}

    return [column for column in columns if says(column)]


def sorted_by(sort: str) -> Layout:
    """:data:`LIST` with the column that it is sorted by, which stays as long as any."""
    title = _SORTED.get(sort, sort)
    *columns, last = LIST.columns
    if title not in {column.title for column in columns}:
        columns.append(_chosen(title.replace(" ", "_")))
    spare, leaving = ([one for one in titles if one != title] for titles in (LIST.spare, LIST.leaving))
    return Layout([*columns, last], spare, [*leaving, title])


def of_fields(names: Sequence[str]) -> Layout:
    """Columns of fields that somebody chose: none leaves, but long texts are cut."""
    return Layout([_chosen(name) for name in names], (), ())


def _chosen(name: str) -> Column:
    return Column(name.replace("_", " "), _text_of(name), least=None if name in _WHOLE else _LEAST_CHOSEN)


def _text_of(name: str) -> Callable[[Record, Clock], str]:
    if name in TIMES:
        return lambda record, moment: since(record[name], moment) if record.get(name) else MISSING
    if name in _LENGTHS:
        return lambda record, _: MISSING if record.get(name) is None else human_duration(record[name])
    return _WHO.text if name == WHO else _field(name)
