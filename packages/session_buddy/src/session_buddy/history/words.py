"""Values and sessions in words, as all people are shown them: on a terminal and on a page alike.

Values come from other people's machines, so no character that acts or hides reaches anybody.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from oneiric.visible import INVISIBLE, visible
from session_buddy.history.record import ENDED_BECAUSE, ENDED_BY, state_of

Record = Mapping[str, Any]

MISSING: Final = "-"
# The contract's words that tell little by themselves; the package's README explains both.
REASONS: Final = {
    "outbox_recovered": "found later",
    "process_gone": "process gone",
    "lease_expired": "not heard from",
}
# Activity comes with heartbeats, 15 s apart at the least: what is below says nothing.
_IDLE_SECONDS: Final = 30
EVIDENCE_TEXTS: Final = {
    "login": "login: the kernel's login uid",
    "sudo": "sudo: the process that ran it",
    "account": "account: one person's own",
    "ssh_key": "ssh_key: the certificate, as sshd wrote it",
    "asked": "asked: by that person's word",
    "claimed": "claimed: a variable says so",
}
SOURCES: Final = {
    "username": "the account of the process's uid",
    "actor": "as the shell was told",
    "origin.tty": "its standard input",
    "origin.ssh_client": "SSH_CONNECTION",
    "origin.sudo_user": "SUDO_USER",
    "origin.real_uid": "the kernel",
    "origin.login_uid": "the kernel",
    "origin.login_name": "the account file",
    "origin.ssh_key": "SSH_USER_AUTH",
    "origin.ssh_certificate": "SSH_USER_AUTH",
}
# How an end was found, by who says it.
_FOUND: Final = {
    "emitter": "the shell said so itself",
    "outbox": "its journal was left without an end, and no process held it",
    "liveness": "a server saw its process end",
    "lease": "no heartbeat came for a whole lease",
    "operator": "somebody ended it in the history",
}


def shown(value: object) -> str:
    """``value`` as people are shown it, on one line.

    >>> [shown(value) for value in (None, "", 7, ["a", "b"])]
    ['-', '-', '7', 'a, b']
    """
    return visible(MISSING if value is None or value == "" else _plain(value))


def human_duration(seconds: float) -> str:
    """A length of time in its two largest units.

    >>> [human_duration(length) for length in (0.4, 12, 312, 3720, 273600)]
    ['0s', '12s', '5m 12s', '1h 02m', '3d 04h']
    """
    minutes, rest = divmod(int(max(seconds, 0)), 60)
    hours, minutes_left = divmod(minutes, 60)
    days, hours_left = divmod(hours, 24)
    if days:
        return f"{days}d {hours_left:02}h"
    if hours:
        return f"{hours}h {minutes_left:02}m"
    return f"{minutes}m {rest:02}s" if minutes else f"{rest}s"


def count(number: int, one: str, many: str = "") -> str:
    """A number with its noun.

    >>> count(1, "session"), count(1234, "session"), count(0, "person", "people")
    ('1 session', '1,234 sessions', '0 people')
    """
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def flatten(record: Record, prefix: str = "") -> Iterator[tuple[str, object]]:
    """The fields of a record, those of nested objects under dotted names.

    >>> list(flatten({"pid": 7, "metadata": {"adapters": ["a", "b"], "deep": {}, "x.y": 1}}))
    [('pid', 7), ('metadata.adapters', ['a', 'b']), ('metadata.deep', None), ('metadata."x.y"', 1)]
    """
    for key, value in record.items():
        # A name with a dot in it is quoted: it would pass for a path.
        path = prefix + (json.dumps(key, ensure_ascii=False) if not key or {".", '"'} & set(key) else key)
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{path}.")
        else:
            yield path, None if isinstance(value, Mapping) else value


def _plain(value: object) -> str:
    if isinstance(value, list) and all(isinstance(item, str | int | float) for item in value):
        return ", ".join(str(item) for item in value) or MISSING
    return value if isinstance(value, str) else as_json(value)


def as_json(value: object, indent: int | None = None) -> str:
    """``value`` as JSON in which nothing acts on a terminal."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    # Line feeds that are left stand between values; inside a string JSON has escaped them already.
    return INVISIBLE.sub(lambda match: match[0] if match[0] == "\n" else json.dumps(match[0])[1:-1], text)


def status_of(record: Record) -> str:
    """How a session stands, in a word."""
    return shown(state_of(record))


def how(record: Record) -> str:
    """Why it ended, in words; empty where that says no more than its status.

    >>> how({"exit_reason": "exception", "exit_code": 1}), how({"exit_reason": "exit", "exit_code": 0})
    ('exception, code 1', 'exit')
    """
    reason, code = record.get("exit_reason"), record.get("exit_code")
    parts = [shown(REASONS.get(reason, reason))] if reason else []
    return ", ".join([*parts, f"code {code}"] if code else parts)


def ending(record: Record) -> str:
    """How a session stands, and how it ended.

    >>> ending({"status": "crashed", "exit_reason": "exception", "exit_code": 1})
    'crashed (exception, code 1)'
    """
    why = how(record)
    return f"{status_of(record)} ({why})" if why else status_of(record)


def idle(record: Record) -> str:
    """How long nothing was done in a session that is active."""
    if record["status"] != "active":
        return MISSING
    if record.get("unreachable"):
        return "unreachable"
    if record.get("busy"):
        return "busy"
    seconds = record.get("idle_seconds")
    if seconds is None:
        return "unknown"
    return human_duration(seconds) if seconds >= _IDLE_SECONDS else f"<{_IDLE_SECONDS}s"


def came_from(record: Record) -> str:
    """The address and the terminal that a session was opened from."""
    origin = record.get("origin") or {}
    parts = [origin.get("ssh_client"), (origin.get("tty") or "").removeprefix("/dev/")]
    return " ".join(shown(one) for one in parts if one) or MISSING


def found(record: Record) -> str:
    """How the end was found."""
    by, because = (record["metadata"].get(name) for name in (ENDED_BY, ENDED_BECAUSE))
    if record["detected_by"] == "operator" and by:
        return f"{shown(by)} ended it in the history" + (f": {shown(because)}" if because else "")
    return _FOUND.get(record["detected_by"], shown(record["detected_by"]))


def evidence(key: str, value: object, record: Record) -> str:
    """How a fact that says who it was is known; empty where that is not told of it."""
    origin = record.get("origin") or {}
    known = SOURCES.get(key)
    match key:
        case "person":
            word = record.get("person_evidence") or ""
            known = EVIDENCE_TEXTS.get(word, word)
        case "username" if record.get("uid") is None:
            known = "as its environment said"
        case "actor" | "agent" if hint := origin.get("actor_hint"):
            known = f"a hint: {hint} is set"
    return shown(known) if known and value is not None else ""
