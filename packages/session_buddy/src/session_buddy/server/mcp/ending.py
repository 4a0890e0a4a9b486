"""Sessions that are stuck, ended in the history once a person has agreed.

The current protocol has no sessions: a tool that needs an answer gives back what it asks, and is called again
with the same arguments, the answer, and a state that the library has sealed to these arguments, this caller.
So nothing is kept here in between, and the second call may reach another server of the same history.
"""

import shlex
from typing import Annotated, Any, Final, Literal

from fastmcp.server.dependencies import get_context
from mcp_types import ElicitRequest, ElicitRequestFormParams, ElicitResult, InputRequiredResult
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import Field
from typing_extensions import TypedDict

from oneiric.visible import visible
from session_buddy.errors import InvalidQuery, NotConfirmed
from session_buddy.history.record import SessionRecord, state_of, who
from session_buddy.server.mcp.refusals import current_caller, guarded
from session_buddy.server.register import BY_TOOL, Register
from session_buddy.server.words import SessionRef, Words

_CONFIRM: Final = "confirm"
_ASKED: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {_CONFIRM: {"type": "boolean", "title": "End it in the history", "default": False}},
    "required": [_CONFIRM],
}


class EndedSession(TypedDict):
    """A session that was ended in the history."""

    session_id: str
    status: Literal["ended"]


class Ending:
    """One method a tool."""

    def __init__(self, register: Register) -> None:
        self._register = register

    @guarded
    async def end_session(
        self,
        *,
        session_id: SessionRef,
        reason: Annotated[Words, Field(description="why; it stands in the record")],
        force: Annotated[bool, Field(description="end also one that is seen alive")] = False,
    ) -> EndedSession | InputRequiredResult:
        """Correct the record of a session that is stuck: it ended when it was last heard of.

        A shell that runs is left alone. A person is asked first; a client that cannot ask gets the command.
        """
        if not reason.strip():
            raise InvalidQuery("reason", reason, "say why, e.g. host was rebuilt")
        caller, context = current_caller(), get_context()
        confirmed, responses = context.request_state, context.input_responses
        if not confirmed or not responses:
            record = await self._register.to_be_ended(session_id, force=force, caller=caller)
            _require_person(record["session_id"], reason, force=force)
            asked = ElicitRequestFormParams(message=_question(record, reason), requested_schema=_ASKED)
            return InputRequiredResult(
                input_requests={_CONFIRM: ElicitRequest(params=asked)}, request_state=record["session_id"]
            )
        answer = responses.get(_CONFIRM)
        agreed = isinstance(answer, ElicitResult) and answer.action == "accept" and answer.content
        if not (agreed and agreed.get(_CONFIRM) is True):
            raise NotConfirmed(f"session {confirmed} was left as it is: nobody confirmed its end")
        (ended,) = await self._register.end_by_hand(
            [confirmed], reason, force=force, caller=caller, forced_by=BY_TOOL
        )
        if ended["error"]:
            raise NotConfirmed(ended["error"])
        return EndedSession(session_id=ended["session_id"], status="ended")


def _require_person(session_id: str, reason: str, *, force: bool) -> None:
    """Refuse where the client cannot ask a person; the refusal has the command to type instead."""
    session = get_context().session
    told = session.client_capabilities
    able = told.elicitation if told is not None else None
    # A client that names neither a form nor an address means forms.
    forms = able is not None and (able.form is not None or able.url is None)
    if not forms or session.protocol_version not in MODERN_PROTOCOL_VERSIONS:
        command = ["session-buddy", "end-session", session_id, "--reason", reason, *["--force"] * force]
        raise NotConfirmed(
            f"a person confirms that session {session_id} is ended, and this client cannot ask one;"
            f" on a terminal: {shlex.join(command)}"
        )


def _question(record: SessionRecord, reason: str) -> str:
    heard = record["last_seen"] or record["start_time"]
    return visible(
        f"End session {record['session_id']} in the history? {who(record)} on {record['hostname']},"
        f" {state_of(record)}, last heard of {heard}. Its shell, if it runs, is left alone. Reason: {reason}"
    )
