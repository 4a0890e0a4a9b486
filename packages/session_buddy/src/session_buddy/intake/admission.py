"""Taking events in, as plain dictionaries: validated one by one, folded, answered one by one.

Whatever brings them: a call of a client, or this user's outbox, swept with or without a server.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from pydantic_core import PydanticSerializationError, to_json
from typing_extensions import TypedDict

from oneiric.contract import MAX_BATCH_BYTES, MAX_BATCH_EVENTS
from oneiric.events import InvalidEvent, parse_event
from oneiric.sweep import Deliver
from session_buddy.access.callers import Caller, local_caller
from session_buddy.errors import BatchTooLarge
from session_buddy.history.model import Arrival, Taken, Verdict
from session_buddy.intake.accounts import Accounts
from session_buddy.intake.tally import Tally

MAX_EVENT_BYTES: Final = 64 * 1024

Ingest = Callable[[Sequence[Arrival]], Sequence[Taken]]


class EventResult(TypedDict):
    """What became of one event."""

    status: Verdict
    session_id: str | None
    field: str | None
    error: str | None


@dataclass(frozen=True)
class Batch:
    """A batch of one call after validation: what is to be stored, and the answers that are known already.

    Attributes:
        arrivals: the valid events, in order.
        answers: one for each event of the batch; ``None`` where the store has to speak.
    """

    arrivals: list[Arrival]
    answers: list[EventResult | None]

    @property
    def invalid(self) -> int:
        """How many of the events are not."""
        return len(self.answers) - len(self.arrivals)

    def results(self, taken: Sequence[Taken]) -> list[EventResult]:
        """The answers, completed by what became of :attr:`arrivals`."""
        stored = iter(taken)
        return [result_of(next(stored)) if answer is None else answer for answer in self.answers]


def admit(raw: object, caller: Caller, now: datetime) -> Arrival:
    """Validate one event, unknown fields included.

    Raises:
        InvalidEvent: names the field, its value and what is allowed.
    """
    if not isinstance(raw, Mapping):
        raise InvalidEvent("", raw, "an object is expected")
    kind = raw.get("event_type")
    try:
        event, body = parse_event(raw), to_json(raw, exclude_none=True, inf_nan_mode="null").decode()
        arrival = Arrival.of(event, caller.subject, now, by_admin=caller.is_admin, body=body)
    except (PydanticSerializationError, UnicodeError, RecursionError) as error:
        shown = kind if isinstance(kind, str) else None
        raise InvalidEvent("", shown, f"plain JSON is expected ({error})") from None
    if arrival.size > MAX_EVENT_BYTES:
        allowed = f"it takes {arrival.size} bytes; {MAX_EVENT_BYTES} are allowed"
        raise InvalidEvent("", kind, allowed)
    return arrival


def validate(batch: Sequence[object], caller: Caller, now: datetime) -> Batch:
    """Validate a batch that came in one call, each event by itself.

    Raises:
        BatchTooLarge: more than one call may carry; names the size and what is allowed.
    """
    if len(batch) > MAX_BATCH_EVENTS:
        raise BatchTooLarge(f"events: {len(batch)} in one call; {MAX_BATCH_EVENTS} are allowed")
    valid = _each_validated(batch, caller, now)
    refused = [raw for raw, answer in zip(batch, valid.answers, strict=True) if answer is not None]
    size = sum(arrival.size for arrival in valid.arrivals) + sum(map(_size, refused))
    if size > MAX_BATCH_BYTES:
        raise BatchTooLarge(f"events: {size} bytes in one call; {MAX_BATCH_BYTES} are allowed")
    return valid


def _each_validated(batch: Sequence[object], caller: Caller, now: datetime) -> Batch:
    arrivals: list[Arrival] = []
    answers: list[EventResult | None] = []
    for raw in batch:
        try:
            arrivals.append(admit(raw, caller, now))
            answers.append(None)
        except InvalidEvent as error:
            refusal = EventResult(status="invalid", session_id=None, field=error.field, error=str(error))
            answers.append(refusal)
    return Batch(arrivals, answers)


def _size(raw: object) -> int:
    """Bytes that an event took which is not valid, whatever it holds."""
    try:
        return len(json.dumps(raw, ensure_ascii=False, default=str).encode(errors="surrogatepass"))
    except RecursionError:
        return 0


def result_of(taken: Taken) -> EventResult:
    """The answer for one event that a store has judged."""
    return EventResult(
        status=taken.verdict, session_id=taken.session_id, field=taken.field, error=taken.error
    )


def locally(
    ingest: Ingest,
    accounts: Accounts,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    tally: Tally | None = None,
) -> Deliver:
    """Delivery straight into a store, as this user; answers as ``track_events`` does.

    No batch is too large, since it is no call: an event that is, is refused by itself, and its journal set
    aside, where a refused batch would keep all that waits behind it from ever coming in. What is not valid
    is counted in ``tally``.
    """

    def take(batch: list[dict[str, Any]]) -> list[dict[str, Any]]:
        valid = _each_validated(accounts.named(batch), local_caller(), now())
        if tally is not None:
            tally.refuse("invalid", valid.invalid)
        return [dict(result) for result in valid.results(ingest(valid.arrivals))]

    return take
