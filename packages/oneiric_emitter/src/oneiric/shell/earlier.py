"""What shells written for the earlier base call, override or set, and nothing else needs."""

from collections.abc import Callable, Iterator
from functools import cached_property
from importlib import import_module
from typing import Any

from oneiric.emitter import SessionEventEmitter


class EarlierHooks:
    """The hooks by which earlier shells report their sessions, as they are or overridden.

    The shell calls ``_emit_session_start`` and ``_emit_session_end``, and they ``_notify_session_start`` and
    ``_notify_session_end``: an override at either place is called. What overrides leave undone, the shell
    does after them.
    """

    _session_id: str | None = None
    _own_emitter: SessionEventEmitter
    _begin: Callable[[], None]
    _get_session_metadata: Callable[[], dict[str, Any]]

    @cached_property
    def session_tracker(self) -> Any:  # noqa: ANN401 - see below
        """Our emitter, or what a subclass puts in its place.

        That is another emitter of ours, one that holds one of ours, or one of its own that has the two
        ``emit_`` calls.
        """
        return self._own_emitter

    @property
    def session_id(self) -> str | None:
        """The live session, ``None`` when there is none."""
        return self._emitter.session_id or self._session_id

    @session_id.setter
    def session_id(self, session_id: str | None) -> None:
        self._session_id = session_id

    async def _emit_session_start(self) -> None:
        await self._notify_session_start()

    async def _emit_session_end(self) -> None:
        await self._notify_session_end()

    async def _notify_session_start(self) -> None:
        self._begin()
        if self._is_foreign:
            self._session_id = await self.session_tracker.emit_session_start(
                shell_type=type(self).__name__, metadata=self._get_session_metadata()
            )

    async def _notify_session_end(self) -> None:
        if self._is_foreign and self._session_id:
            await self.session_tracker.emit_session_end(session_id=self._session_id, metadata={})
        self._emitter.end_session()
        self._session_id = None

    def _try_import(self, module: str, name: str) -> Any:  # noqa: ANN401 - whatever is called so
        try:
            return getattr(import_module(module), name)
        except (ImportError, AttributeError):
            return None

    @property
    def _emitter(self) -> SessionEventEmitter:
        """What records the session, whatever the tracker is."""
        return next(self._emitters(), self._own_emitter)

    @property
    def _is_foreign(self) -> bool:
        return self.session_tracker is not None and not any(self._emitters())

    def _emitters(self) -> Iterator[SessionEventEmitter]:
        held = getattr(self.session_tracker, "__dict__", {}).values()
        # Not isinstance: ``Mock(spec=SessionEventEmitter)`` passes it.
        return (one for one in (self.session_tracker, *held) if issubclass(type(one), SessionEventEmitter))
