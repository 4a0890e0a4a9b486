"""The event contract, the only one: frozen models that the server validates with and schemas come from.

Needs pydantic (``oneiric[events]``). Emitters never import this module: they build the same events as
plain dictionaries in :mod:`oneiric.compose`.
"""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    UUID4,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic.functional_validators import AfterValidator

from oneiric import contract
from oneiric.contract import Actor, Detector, EndStatus, ExitReason
from oneiric.visible import visible

_MOST: Final = 80  # characters of a field or a value in one line of an error


class InvalidEvent(ValueError):  # noqa: N818 - reads as the fact it states
    """One field of an event is not allowed.

    Attributes:
        field: dotted path of the offending field, ``""`` for the event as a whole.
        value: the offending value.
        allowed: what the contract allows there.
    """

    def __init__(self, field: str, value: object, allowed: str) -> None:
        self.field = field
        self.value = value
        self.allowed = allowed
        shown, name = repr(value), visible(field)[:_MOST]
        shown = shown if len(shown) <= _MOST else f"{shown[: _MOST - 1]}…"
        super().__init__(f"{name or 'event'}: {shown} is not valid: {allowed}")


def _iso_text(value: object) -> object:
    # A number in a text would be taken for a Unix time.
    if not (value[4:5] == "-" if isinstance(value, str) else isinstance(value, datetime)):
        raise ValueError("an ISO 8601 text with an offset is expected")
    return value


def _utc(value: datetime) -> datetime:
    try:
        utc = value.astimezone(UTC)
    except OverflowError:
        utc = None
    if utc is None or utc.year < _EPOCH_YEAR:
        raise ValueError("the time lies outside the years 1970 to 9999")
    return utc


_EPOCH_YEAR: Final = 1970  # no Unix clock shows less
_PLAIN_JSON: Final = json.JSONEncoder(allow_nan=False, ensure_ascii=False)
_NUL: Final = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


def _depth(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    if isinstance(value, list | tuple):
        return 1 + max(map(_depth, value), default=0)
    return 0


def _metadata(value: dict[str, Any]) -> dict[str, Any]:
    if not value:
        return value
    try:
        if _depth(value) > contract.MAX_METADATA_DEPTH:
            raise ValueError(f"metadata is nested deeper than {contract.MAX_METADATA_DEPTH} levels")
        text = _PLAIN_JSON.encode(value).encode()
    except (TypeError, RecursionError, UnicodeEncodeError) as error:
        raise ValueError(f"metadata must be plain JSON ({error})") from None
    if len(text) > contract.MAX_METADATA_BYTES:
        raise ValueError(f"metadata takes {len(text)} bytes; {contract.MAX_METADATA_BYTES} are allowed")
    if _NUL.search(text):
        raise ValueError("metadata holds a NUL character")
    return value


def _no_nul(value: str) -> str:
    if "\0" in value:
        raise ValueError("the text holds a NUL character")
    return value


def _known_time(session_id: str) -> str:
    contract.start_time_of(session_id)
    return session_id


Timestamp = Annotated[AwareDatetime, BeforeValidator(_iso_text), AfterValidator(_utc)]
ComponentName = Annotated[str, StringConstraints(pattern=f"^{contract.COMPONENT_PATTERN}$")]
SessionType = Annotated[str, StringConstraints(pattern=f"^{contract.SESSION_TYPE_PATTERN}$")]
SessionId = Annotated[
    str, StringConstraints(pattern=f"^{contract.SESSION_ID_PATTERN}$"), AfterValidator(_known_time)
]
EventVersion = Annotated[str, StringConstraints(pattern=r"^1\.\d{1,4}$")]
Pid = Annotated[int, Field(ge=1, le=contract.MAX_PID)]
Metadata = Annotated[dict[str, Any], AfterValidator(_metadata)]
Count = Annotated[int, Field(ge=0, le=contract.MAX_COUNT)]
Elapsed = Annotated[float, Field(ge=0, le=contract.MAX_ELAPSED_SECONDS, allow_inf_nan=False)]
ShellType = Annotated[
    str, StringConstraints(min_length=1, max_length=contract.MAX_SHELL_TYPE), AfterValidator(_no_nul)
]
Hostname = Annotated[str, StringConstraints(max_length=contract.MAX_HOSTNAME), AfterValidator(_no_nul)]
Reason = Annotated[str, StringConstraints(max_length=contract.MAX_REASON), AfterValidator(_no_nul)]
PathText = Annotated[str, StringConstraints(max_length=contract.MAX_PATH), AfterValidator(_no_nul)]
ShortText = Annotated[str, StringConstraints(max_length=contract.MAX_PLATFORM), AfterValidator(_no_nul)]
Username = Annotated[str, StringConstraints(max_length=contract.MAX_USERNAME), AfterValidator(_no_nul)]
PersonName = Annotated[Username, StringConstraints(min_length=1)]
Uid = Annotated[int, Field(ge=0, le=contract.MAX_UID)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow")


class User(_Model):
    """The account: OpenTelemetry's ``user.name`` and ``user.id``, and the home folder that the shell uses."""

    username: Username
    uid: Uid | None = None
    home: PathText = ""


class Named(_Model):
    """A person's name, and how it is known: a word of ``docs/identity.md``, or one of a later version."""

    name: PersonName
    evidence: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z_]{0,31}$")]


class Person(Named):
    """Who is behind the account by the strongest evidence; ``also``: whom weaker evidence names instead."""

    also: tuple[Named, ...] = Field(default=(), max_length=contract.MAX_ALSO)


class Environment(_Model):
    """The interpreter and the folder the shell was started in."""

    python_version: ShortText = contract.UNKNOWN
    platform: ShortText = contract.UNKNOWN
    cwd: PathText = ""


class Process(_Model):
    """What makes a pid name one process for good: same boot, same pid namespace, same start time.

    ``started_at`` is the kernel's own figure (clock ticks since boot on Linux), compared, never shown.
    """

    boot_id: ShortText
    pid_namespace: ShortText
    started_at: Count
    user_namespace: ShortText | None = None
    mount_namespace: ShortText | None = None


class Origin(_Model):
    """Where the operator came from."""

    tty: ShortText | None = None
    ssh_client: ShortText | None = None
    sudo_user: Username | None = None
    real_uid: Uid | None = None
    login_uid: int | None = None
    login_name: Username | None = None
    ssh_key: ShortText | None = None
    ssh_certificate: ShortText | None = None
    container: ShortText | None = None
    pod: ShortText | None = None
    actor_hint: ShortText | None = None


class Activity(_Model):
    """What happened in the shell so far, as far as it is counted; ``busy`` while a command runs."""

    commands: Count | None = None
    errors: Count | None = None
    last_activity: Timestamp | None = None
    busy: bool | None = None


class SessionStart(_Model):
    """A shell came up."""

    event_type: Literal["session_start"]
    event_version: EventVersion
    event_id: UUID4
    component_name: ComponentName
    shell_type: ShellType
    session_type: SessionType = contract.DEFAULT_SESSION_TYPE
    timestamp: Timestamp
    pid: Pid
    user: User
    hostname: Hostname
    environment: Environment
    metadata: Metadata = Field(default_factory=dict)
    process: Process | None = None
    parent_session_id: SessionId | None = None
    reason: Reason | None = None
    actor: Actor | None = None
    agent: Username | None = None
    person: Person | None = None
    origin: Origin | None = None

    @property
    def session_id(self) -> str:
        """The id that both ends derive alone."""
        return contract.session_id_for(self.component_name, self.timestamp, self.event_id.hex)


class SessionHeartbeat(_Model):
    """A shell still lives: state, not history.

    ``elapsed_seconds`` since the start are counted by a clock that nobody sets (``CLOCK_BOOTTIME``).
    """

    event_type: Literal["session_heartbeat"]
    session_id: SessionId
    timestamp: Timestamp
    elapsed_seconds: Elapsed | None = None
    activity: Activity = Activity()


class SessionEnd(_Model):
    """A shell is gone, and how; ``elapsed_seconds`` as in a heartbeat.

    ``event_id`` is never empty after validation.
    """

    event_type: Literal["session_end"]
    session_id: SessionId
    timestamp: Timestamp
    elapsed_seconds: Elapsed | None = None
    event_id: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{0,36}$")] = ""
    status: EndStatus = "ended"
    exit_reason: ExitReason | None = None
    exit_code: Annotated[int, Field(ge=contract.MIN_EXIT_CODE, le=contract.MAX_EXIT_CODE)] | None = None
    signal: Annotated[int, Field(ge=1, le=contract.MAX_SIGNAL)] | None = None
    detected_by: Detector = "emitter"
    activity: Activity | None = None
    metadata: Metadata = Field(default_factory=dict)

    @model_validator(mode="after")
    def _derive_event_id(self) -> Self:
        if not self.event_id:
            kind = self.exit_reason or self.event_type
            object.__setattr__(self, "event_id", contract.end_event_id(self.session_id, kind))
        return self


Event = Annotated[SessionStart | SessionHeartbeat | SessionEnd, Field(discriminator="event_type")]

_ADAPTER: Final[TypeAdapter[SessionStart | SessionHeartbeat | SessionEnd]] = TypeAdapter(Event)


def parse_event(raw: Mapping[str, Any]) -> SessionStart | SessionHeartbeat | SessionEnd:
    """Validate one event.

    Raises:
        InvalidEvent: names the first offending field, its value and what is allowed.
    """
    try:
        return _ADAPTER.validate_python(raw)
    except ValidationError as error:
        raise invalid_event(error) from None


def invalid_event(error: ValidationError) -> InvalidEvent:
    """The first complaint of a pydantic error, as the one line that users read."""
    first = error.errors(include_url=False)[0]
    tags = {"session_start", "session_heartbeat", "session_end"}
    field = ".".join(str(part) for part in first["loc"] if part not in tags)
    value = None if first["type"].startswith("missing") else first["input"]
    return InvalidEvent(field, value, first["msg"].removeprefix("Value error, "))


def json_schema() -> dict[str, Any]:
    """The JSON Schema of all three events, as published."""
    return _ADAPTER.json_schema()
