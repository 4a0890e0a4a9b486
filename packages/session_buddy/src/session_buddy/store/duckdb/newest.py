"""The sessions that started last: a start later than all that are known needs no look at the database."""

from collections.abc import Iterable

from session_buddy.store.rows import second_of


class Newest:
    """The ids of the latest second in which a session of a history started.

    Args:
        session_ids: those of that second, and any others.
    """

    def __init__(self, session_ids: Iterable[str] = ()) -> None:
        self._second = ""
        self._ids: set[str] = set()
        self.add(session_ids)

    def __repr__(self) -> str:
        return f"<Newest({self._second}, ids={len(self._ids)})>"

    def add(self, session_ids: Iterable[str]) -> None:
        """Learn of sessions that are in the history now."""
        for session_id in session_ids:
            second = second_of(session_id)
            if second > self._second:
                self._second, self._ids = second, set()
            if second == self._second:
                self._ids.add(session_id)

    def may_know(self, session_id: str) -> bool:
        """Whether the history may have this session; false is certain."""
        second = second_of(session_id)
        return second < self._second or session_id in self._ids
