"""One line to track a session: a ``with`` block, or the rest of the process."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from oneiric import endings
from oneiric.contract import Metadata
from oneiric.emitter import SessionEventEmitter


class TrackedSession(NamedTuple):
    """A session in a ``with`` block."""

    emitter: SessionEventEmitter
    id: str | None

    def record(self, commands: int = 0, errors: int = 0) -> None:
        """Count what happened."""
        self.emitter.record(commands, errors)


_installed: dict[str, SessionEventEmitter] = {}


@contextmanager
def track_session(
    component: str,
    shell_type: str = "python",
    metadata: Metadata = None,
    **optional: Any,  # noqa: ANN401 - the keywords of SessionEventEmitter.start_session
) -> Iterator[TrackedSession]:
    """Track the block as one session; ``session.id`` is ``None`` where it could not be recorded.

    An exception goes through untouched and is the session's exit reason.
    """
    emitter = SessionEventEmitter(component)
    try:
        yield TrackedSession(emitter, emitter.start_session(shell_type, metadata, **optional))
    except BaseException as error:
        emitter.end_session(exit_reason=endings.reason_of(error), exit_code=endings.exit_code_of(error))
        raise
    else:
        emitter.end_session()


def install(
    component: str,
    shell_type: str = "python",
    metadata: Metadata = None,
    **optional: Any,  # noqa: ANN401 - the keywords of SessionEventEmitter.start_session
) -> SessionEventEmitter:
    """Track this process from now to its exit: the one line of a REPL's start-up file.

    Again, as in a cell that is run twice, it returns the emitter whose session lives.
    """
    emitter = _installed.get(component)
    if emitter is None or emitter.session_id is None:
        emitter = _installed[component] = SessionEventEmitter(component)
    emitter.start_session(shell_type, metadata, **optional)
    return emitter
