"""Names, limits and identifiers of the event contract; standard library only, shared by both ends.

The models that enforce these limits are in :mod:`oneiric.events`, the builder of conforming plain
dictionaries is :mod:`oneiric.compose`.
"""

import os
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, Literal, TypeAlias

from oneiric.digests import sha1

EndStatus = Literal["ended", "crashed"]
Status = Literal["active", "ended", "crashed", "lost"]
Actor = Literal["human", "agent", "automation"]
ExitReason = Literal[
    "exit",
    "eof",
    "exception",
    "sigterm",
    "sighup",
    "exec",
    "process_gone",
    "outbox_recovered",
    "lease_expired",
    "operator",
]
Detector = Literal["emitter", "outbox", "liveness", "lease", "operator"]
# Whatever a host hands in.
Metadata: TypeAlias = Mapping[str, Any] | None

# How a person is known, the strongest first: by more than that person's word, and by a word alone. Events may
# have words of later versions.
PROOFS: Final = ("login", "sudo", "account", "ssh_key")
WORDS: Final = ("asked", "claimed")

EVENT_VERSION: Final = "1.0"
DEFAULT_SESSION_TYPE: Final = "admin_shell"

COMPONENT_PATTERN: Final = r"[A-Za-z0-9_-]{1,64}"
SESSION_TYPE_PATTERN: Final = r"[a-z][a-z0-9_]{0,31}"
SESSION_ID_PATTERN: Final = COMPONENT_PATTERN + r"-[0-9]{8}-[0-9]{6}-[0-9a-f]{8}"

MAX_COMPONENT: Final = 64
MAX_SHELL_TYPE: Final = 100
MAX_USERNAME: Final = 100
MAX_UID: Final = 2**32 - 1
MAX_ALSO: Final = 16
MAX_PATH: Final = 500
MAX_HOSTNAME: Final = 255
MAX_PLATFORM: Final = 200
MAX_REASON: Final = 200
MAX_PID: Final = 4_194_304
MIN_EXIT_CODE: Final = -(2**31)
MAX_EXIT_CODE: Final = 2**32
MAX_SIGNAL: Final = 64
MAX_COUNT: Final = 2**53
MAX_ELAPSED_SECONDS: Final = 2**32
MAX_METADATA_BYTES: Final = 16 * 1024
MAX_METADATA_DEPTH: Final = 8

MAX_BATCH_EVENTS: Final = 500
MAX_BATCH_BYTES: Final = 1024 * 1024
EMITTER_BATCH_BYTES: Final = 256 * 1024

# What became of an event that the server has.
ACCEPTED: Final = frozenset({"stored", "duplicate"})

DEFAULT_HEARTBEAT_SECONDS: Final = 15.0
DEFAULT_LEASE_SECONDS: Final = 300.0
# A session is given up after so many heartbeats that did not come, at the least.
LEASE_BEATS: Final = 4
UNKNOWN: Final = "unknown"

_URL_NAMESPACE = bytes.fromhex("6ba7b8119dad11d180b400c04fd430c8")
_SESSION_ID = re.compile(SESSION_ID_PATTERN)
_NOT_OF_A_COMPONENT = re.compile(r"[^A-Za-z0-9_-]")


def component_for(name: object) -> str:
    """A name as the contract allows a component's.

    >>> component_for("my.app")
    'my_app'
    """
    return _NOT_OF_A_COMPONENT.sub("_", str(name))[:MAX_COMPONENT] or UNKNOWN


def session_id_for(component: str, started: datetime, event_id: str) -> str:
    """The session's name: ``{component}-{YYYYMMDD-HHMMSS UTC}-{first 8 hex of event_id}``.

    >>> start = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    >>> session_id_for("shop", start, "1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed")
    'shop-20260102-030405-1b9d6bcd'
    """
    # Not strftime: it does not pad the year everywhere, and takes as long as all the rest.
    utc = started.astimezone(UTC).isoformat()
    day, clock = utc[:10].replace("-", ""), utc[11:19].replace(":", "")
    return f"{component}-{day}-{clock}-{event_id.replace('-', '')[:8].lower()}"


def start_time_of(session_id: str) -> datetime:
    """The UTC start time, to the second, that a session id carries.

    Raises:
        ValueError: ``session_id`` is no session id.

    >>> start_time_of("shop-20260102-030405-1b9d6bcd").isoformat()
    '2026-01-02T03:04:05+00:00'
    """
    if not _SESSION_ID.fullmatch(session_id):
        raise ValueError(f"{session_id!r} is no session id (component-YYYYMMDD-HHMMSS-8 hex digits)")
    _, day, clock, _ = session_id.rsplit("-", 3)
    # Not strptime: it imports a module on first use, and this runs on the emitter's thread too.
    return datetime(
        int(day[:4]), int(day[4:6]), int(day[6:]), int(clock[:2]), int(clock[2:4]), int(clock[4:]), tzinfo=UTC
    )


def new_event_id() -> str:
    """A random UUID4."""
    return _uuid(os.urandom(16), version=4)


def end_event_id(session_id: str, kind: str) -> str:
    """The id of an end that carries none, a UUID5: two finders of one orphan derive the same."""
    name = f"urn:session:{session_id}:{kind}".encode()
    return _uuid(sha1(_URL_NAMESPACE + name, usedforsecurity=False).digest()[:16], version=5)


def _uuid(raw: bytes, version: int) -> str:
    """A UUID as text (RFC 9562). The module ``uuid`` would cost a host 3 ms of its start."""
    octets = bytearray(raw)
    octets[6] = version << 4 | octets[6] & 0x0F
    octets[8] = 0x80 | octets[8] & 0x3F
    digits = octets.hex()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
