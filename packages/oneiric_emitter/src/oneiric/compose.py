"""Conforming events as plain dictionaries, from the standard library alone.

Whatever the host hands in (surrogates, NaN, objects, cycles, far too long texts) comes out as an event that
:mod:`oneiric.events` accepts: over-long texts are cut with ``…``, never refused.
"""

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Any, TypeVar, get_args

from oneiric import contract
from oneiric.contract import Metadata
from oneiric.interrupts import suppress

_CUT = "…"
_EXIT_REASONS: tuple[str, ...] = get_args(contract.ExitReason)
_STATUSES: tuple[str, ...] = get_args(contract.EndStatus)
_SHORT = 256
_MAX_ITEMS = 1000
_MAX_NESTED_ITEMS = 2000
_MAX_LETTERS = 2 * contract.MAX_METADATA_BYTES
# How long the texts of a start may be that are longer than a user's name.
_LONGEST = {
    "hostname": contract.MAX_HOSTNAME,
    "home": contract.MAX_PATH,
    "cwd": contract.MAX_PATH,
    "python_version": contract.MAX_PLATFORM,
    "platform": contract.MAX_PLATFORM,
}

_T = TypeVar("_T")


def timestamp(when: datetime) -> str:
    """ISO 8601 in UTC with offset."""
    return when.astimezone(UTC).isoformat()


def session_start(*, shell_type: object, reason: object = None, **facts: Any) -> dict[str, Any]:  # noqa: ANN401 - of a start
    """A start event; ``facts`` are the contract's other fields, left out where ``None``."""
    metadata = metadata_object(facts.pop("metadata", None))
    kind = facts.get("session_type")
    known = isinstance(kind, str) and re.fullmatch(contract.SESSION_TYPE_PATTERN, kind)
    event = {
        "event_version": contract.EVENT_VERSION,
        "event_type": "session_start",
        **_cut(facts),
        "shell_type": text(shell_type or contract.UNKNOWN, contract.MAX_SHELL_TYPE),
        "session_type": kind if known else contract.DEFAULT_SESSION_TYPE,
        "reason": text(reason, contract.MAX_REASON) if reason else None,
        "metadata": metadata,
    }
    return _present(event)


def session_end(
    session_id: str,
    when: datetime,
    *,
    event_id: str,
    exit_reason: str,
    metadata: Metadata = None,
    **optional: Any,  # noqa: ANN401 - the contract's optional fields
) -> dict[str, Any]:
    """An end event; ``optional`` are the contract's optional fields, left out where ``None``."""
    event = {
        "event_type": "session_end",
        "session_id": session_id,
        "timestamp": timestamp(when),
        "event_id": event_id,
        "exit_reason": _one_of(_EXIT_REASONS, exit_reason) or "exit",
        "metadata": metadata_object(metadata) if metadata else None,
        **optional,
        "status": _one_of(_STATUSES, optional.get("status")),
        "exit_code": _whole(optional.get("exit_code"), contract.MIN_EXIT_CODE, contract.MAX_EXIT_CODE),
        "signal": _whole(optional.get("signal"), 1, contract.MAX_SIGNAL),
    }
    return _present(event)


def heartbeat(
    session_id: str, when: str, elapsed_seconds: float | None, activity: Mapping[str, Any]
) -> dict[str, Any]:
    """A heartbeat."""
    event = {"event_type": "session_heartbeat", "session_id": session_id, "timestamp": when}
    return _present(event | {"elapsed_seconds": elapsed_seconds, "activity": dict(activity)})


def encode(event: Mapping[str, Any]) -> bytes:
    """One JSON line."""
    return json.dumps(event, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode() + b"\n"


def session_id_of(start: Mapping[str, Any]) -> str:
    """The id of the session that a start event begins."""
    when = datetime.fromisoformat(start["timestamp"])
    return contract.session_id_for(start["component_name"], when, start["event_id"])


def batches(
    items: Iterable[_T], events_of: Callable[[_T], Sequence[Mapping[str, Any]]]
) -> Iterator[list[_T]]:
    """Items in lists whose events fit one call; those of one item stay together."""
    batch: list[_T] = []
    sizes: list[int] = []
    for item in items:
        more = [len(encode(event)) for event in events_of(item)]
        sizes += more
        if batch and (len(sizes) > contract.MAX_BATCH_EVENTS or sum(sizes) > contract.EMITTER_BATCH_BYTES):
            yield batch
            batch, sizes = [], more
        batch.append(item)
    if batch:
        yield batch


def text(value: object, limit: int) -> str:
    """``value`` as a text of at most ``limit`` characters that any JSON reader takes."""
    raw = f"<{type(value).__name__}>"
    with suppress(Exception):  # the host's __str__ may do anything; the session counts more
        raw = value if isinstance(value, str) else str(value)
    clean = raw[: limit + 1].encode("utf-8", "replace").decode().replace("\0", "\ufffd")
    return clean if len(clean) <= limit else clean[: limit - 1] + _CUT


def metadata_object(metadata: Metadata) -> dict[str, Any]:
    """``metadata`` as plain JSON within the contract's size and depth, once; what was cut is marked."""
    if isinstance(metadata, _Plain):
        return metadata
    with suppress(Exception):  # the host's mapping may do anything; the session counts more
        return _Plain(_bounded(metadata) if metadata else {})
    return _Plain(unreadable=text(type(metadata).__name__, _SHORT))


class _Plain(dict[str, Any]):
    """Metadata that was brought within the contract."""


class _Budget:
    """What is left for one object's metadata: bounds for each level alone would multiply."""

    def __init__(self) -> None:
        self.items = _MAX_NESTED_ITEMS
        self.letters = _MAX_LETTERS

    def take(self, found: Iterable[_T], cut: _T) -> Iterator[_T]:
        """The items of a nested object, then ``cut`` where nothing is left."""
        for item in found:
            if not self.items:
                yield cut
                return
            self.items -= 1
            yield item

    def text(self, value: object) -> str:
        """``value`` as a text; where nothing is left, as a short one."""
        clean = text(value, min(contract.MAX_METADATA_BYTES, max(_SHORT, self.letters)))
        self.letters -= len(clean)
        return clean


def _bounded(metadata: Mapping[str, Any]) -> dict[str, Any]:
    budget = _Budget()
    plain = {
        text(key, _SHORT): _plain(value, contract.MAX_METADATA_DEPTH - 1, budget)
        for key, value in islice(metadata.items(), _MAX_ITEMS)
    }
    if _size(plain) <= contract.MAX_METADATA_BYTES:
        return plain
    shortened: dict[str, Any] = {"truncated": True}
    room = contract.MAX_METADATA_BYTES - _size(shortened)
    for key, value in plain.items():
        piece = value if _size(value) <= _SHORT * 4 else text(json.dumps(value, ensure_ascii=False), _SHORT)
        room -= _size({key: piece})
        if room < 0:
            break
        shortened[key] = piece
    return shortened


def _size(value: object) -> int:
    return len(json.dumps(value, ensure_ascii=False).encode())


def _cut(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Facts, and those within them, with every text within its bounds."""
    cut = {}
    for name, fact in facts.items():
        nested = _cut(fact) if isinstance(fact, Mapping) else fact
        cut[name] = text(fact, _LONGEST.get(name, contract.MAX_USERNAME)) if isinstance(fact, str) else nested
    return cut


def _present(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _one_of(allowed: tuple[str, ...], value: object) -> str | None:
    return next((one for one in allowed if one == value), None)


def _whole(value: object, low: int, high: int) -> int | None:
    return int(value) if isinstance(value, int) and low <= value <= high else None


def _plain(value: Any, depth: int, budget: _Budget) -> Any:  # noqa: ANN401, PLR0911 - any host object
    match value:
        case None | bool():
            return value
        case int():
            return value if value.bit_length() <= 64 else hex(value)  # noqa: PLR2004 - what readers hold
        case float():
            return value if math.isfinite(value) else str(value)
        case Mapping() | list() | tuple() | set() | frozenset() if depth == 0 or not budget.items:
            return _CUT
        case Mapping():
            return {
                text(key, _SHORT): _plain(item, depth - 1, budget)
                for key, item in budget.take(value.items(), (_CUT, _CUT))
            }
        case list() | tuple() | set() | frozenset():
            return [_plain(item, depth - 1, budget) for item in budget.take(value, _CUT)]
        case _:
            return budget.text(value)
