"""The keys of a query: what each looks at, and what its values may be."""

import difflib
import re
from collections.abc import Callable, Sequence
from datetime import datetime, tzinfo
from typing import Final, Literal, NamedTuple, get_args

from oneiric import contract
from oneiric.contract import Actor, ExitReason, Status
from session_buddy.errors import InvalidQuery
from session_buddy.history.syntax import Value
from session_buddy.history.times import Span, parse_bounds, parse_duration, parse_overlap

Kind = Literal["text", "words", "id", "status", "exit", "choice", "number", "duration", "time", "overlap"]
StatusFilter = Literal[Status, "unreachable"]
STATUS_FILTERS: Final[tuple[StatusFilter, ...]] = (*get_args(Status), "unreachable")


class Clock(NamedTuple):
    """When a query is asked, and in which zone its times are meant; ``None``: this machine's."""

    now: datetime
    zone: tzinfo | None = None


class Range(NamedTuple):
    """Numbers from ``low`` to ``high``, both included unless it is said otherwise; ``None``: no bound."""

    low: float | None = None
    high: float | None = None
    above: bool = False
    below: bool = False

    def written(self, form: Callable[[float], str]) -> str:
        """As a query has it; ``form`` writes a number.

        >>> [one.written(str) for one in (Range(1, 5), Range(7, 7), Range(2, None, above=True))]
        ['1..5', '7', '>2']
        """
        low, high = (None if one is None else form(one) for one in (self.low, self.high))
        if low is not None and high is not None:
            return low if low == high else f"{low}..{high}"
        return f"<{'=' * (not self.below)}{high}" if low is None else f">{'=' * (not self.above)}{low}"


# What a term looks for: a text, a number, a time.
Wanted = Value | Range | Span


class Key(NamedTuple):
    """One key; ``column`` is the field of a row that has it, ``None`` if several have, or one within JSON."""

    name: str
    kind: Kind
    column: str | None
    looks_at: str
    example: str


METADATA: Final = "metadata"
KEYS: Final[tuple[Key, ...]] = (
    Key(
        "user",
        "text",
        "username",
        "the person, the account, who ran sudo, and whom weaker evidence names",
        "user:ada",
    ),
    Key("account", "text", "username", "the account that the process runs as", "account:root"),
    Key("uid", "number", "uid", "the account's number", "uid:0"),
    Key("host", "text", "hostname", "the machine's name", "host:web*"),
    Key("component", "text", "component", "the component", "component:mahavishnu,shop"),
    Key("folder", "text", "cwd", "the folder that it was started in", "folder:/srv/*"),
    Key("pid", "number", "pid", "the process's number", "pid:4321"),
    Key("type", "text", "session_type", "the type of session", "type:admin_shell"),
    Key("shell", "text", "shell_type", "the kind of shell", "shell:*Shell"),
    Key("status", "status", "status", "how it stands", "-status:active"),
    Key("exit", "exit", "exit_reason", "why it ended, or its exit code", "exit:sigterm,>0"),
    Key("actor", "choice", "actor", "who acts: a person, or a program for them", "actor:agent"),
    Key("agent", "text", "agent", "the agent's name", "agent:claude*"),
    Key("reason", "words", "reason", "words of the reason that was given, e.g. a ticket", "reason:OPS-7"),
    Key("parent", "id", "parent_session_id", "the session that it was started from", "parent:1b9d6bcd"),
    Key(
        "id", "id", "session_id", "its own id, the last eight digits, or a beginning of either", "id:1b9d6bcd"
    ),
    Key("tty", "text", None, "the terminal", "tty:pts/*"),
    Key("from", "text", None, "the address that it was logged in from", "from:10.0.*"),
    Key("duration", "duration", None, "how long it lasted, or has lasted so far", "duration:>1h"),
    Key("idle", "duration", None, "how long nothing was done in it; of those that are active", "idle:>30m"),
    Key("commands", "number", None, "how many commands were counted", "commands:0"),
    Key("errors", "number", None, "how many of them failed", "errors:>0"),
    Key("started", "time", "listed_at", "when it started", "started:yesterday"),
    Key("ended", "time", "listed_until", "when it ended", "ended:>2h"),
    Key("at", "overlap", None, "who was in at a time, or at any time of a span", 'at:"monday 14:00..16:00"'),
    Key(
        "metadata.KEY",
        "text",
        None,
        "a value of its metadata, or one in a list there",
        "metadata.version:1.*",
    ),
)
_BY_NAME: Final = {key.name: key for key in KEYS}
COLUMN_OF: Final = {key.name: key.column for key in KEYS if key.column}
NAMES: Final = tuple(key.name.partition(".")[0] for key in KEYS)
_WITH_WILDCARDS: Final = ("text", "words", "id")
CHOICES: Final = {"status": STATUS_FILTERS, "exit": get_args(ExitReason), "actor": get_args(Actor)}
_METADATA_KEY: Final = _BY_NAME["metadata.KEY"]


def key_named(name: str, place: str) -> Key:
    """The key of this name; of metadata, whichever value of it is named.

    Raises:
        InvalidQuery: there is none; says where, and which is nearest.
    """
    if name.startswith(f"{METADATA}."):
        return _METADATA_KEY
    if known := _BY_NAME.get(name.lower()):
        return known
    if name == METADATA:
        raise InvalidQuery(place, f"{name}:", "which value? write metadata.KEY:VALUE")
    near = difflib.get_close_matches(name.lower(), NAMES, n=1)
    hint = f"no such key; the nearest is {near[0]}" if near else "no such key"
    raise InvalidQuery(place, f"{name}:", f"{hint}; there are {', '.join(_BY_NAME)}; quoted it is a word")


def read(key: Key, value: Value, clock: Clock, place: str | None = None) -> Wanted:
    """What a value of a key means at ``clock``.

    Raises:
        InvalidQuery: names the key, or ``place``, an option that stands for it; the value; what is allowed.
    """
    place, text = place or key.name, value.text
    if value.anything and key.kind != "overlap":
        return value
    if (value.any_before or value.any_behind) and key.kind not in _WITH_WILDCARDS:
        written = f"{'*' * value.any_before}{text}{'*' * value.any_behind}"
        allowed = nearest_first(text, CHOICES[key.name]) if key.name in CHOICES else ""
        raise InvalidQuery(place, written, f"no `*` stands here{': one of ' * bool(allowed)}{allowed}")
    wanted: Wanted = value
    match key.kind:
        case "number":
            wanted = _compared(place, text, _whole)
        case "duration":
            wanted = _unequal(place, text, _compared(place, text, parse_duration))
        case "time":
            wanted = parse_bounds(place, text, clock.now, clock.zone)
        case "overlap":
            wanted = parse_overlap(place, text, clock.now, clock.zone)
        case "exit" if text[:1] in "-0123456789<>.":
            wanted = _compared(place, text, _whole)
        case "exit" | "status" | "choice":
            wanted = Value(one_of(place, text, CHOICES[key.name]))
        case "text":
            wanted = _text(place, key.name, value)
    return wanted


def _text(place: str, key: str, value: Value) -> Value:
    text, whole = value.text, not (value.any_before or value.any_behind)
    if key == "from" and "/" in text:
        raise InvalidQuery(place, text, "networks are not understood; a beginning is, as in from:10.0.*")
    if key == "component" and whole:
        text = contract.component_for(text)
    if key == "tty" and not value.any_before and not text.startswith("/"):
        text = f"/dev/{text}"
    return value._replace(text=text)


def one_of(place: str, text: str, allowed: Sequence[str]) -> str:
    """A word of a closed set.

    Raises:
        InvalidQuery: it is none; the nearest stands first.
    """
    word = text.lower()
    if word in allowed:
        return word
    raise InvalidQuery(place, text, f"one of {nearest_first(word, allowed)}")


def nearest_first(word: str, allowed: Sequence[str]) -> str:
    """Those that are allowed, the nearest first."""
    near = difflib.get_close_matches(word, allowed, n=len(allowed), cutoff=0.5)
    return ", ".join([*near, *(one for one in allowed if one not in near)])


def _whole(place: str, text: str) -> float:
    if re.fullmatch(r"-?[0-9]{1,15}", text):
        return int(text)
    raise InvalidQuery(place, text, "a whole number, or >5, <=5, 1..5")


def _unequal(place: str, text: str, found: Range) -> Range:
    if found.low is not None and found.low == found.high:
        raise InvalidQuery(place, text, "which side of it? write >1h, <1h or 30m..1h")
    return found


def _compared(place: str, text: str, read_one: Callable[[str, str], float]) -> Range:
    """A number, a comparison with one, or all from one to another."""
    for sign in (">=", "<=", ">", "<"):
        if text.startswith(sign):
            limit = read_one(place, text[len(sign) :].strip())
            strict = len(sign) == 1
            return Range(low=limit, above=strict) if sign[0] == ">" else Range(high=limit, below=strict)
    if ".." not in text:
        return Range(one := read_one(place, text), one)
    low, _, high = (part.strip() for part in text.partition(".."))
    bounds = Range(read_one(place, low) if low else None, read_one(place, high) if high else None)
    if bounds == Range() or (bounds.low is not None and bounds.high is not None and bounds.low > bounds.high):
        raise InvalidQuery(place, text, "LOW..HIGH, the lower one first")
    return bounds
