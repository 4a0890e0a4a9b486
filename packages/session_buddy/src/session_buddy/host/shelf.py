"""Where a secret stands, and what is known of those before it and of tokens: a file, or a database."""

from collections.abc import Callable
from typing import Protocol

Texts = dict[str, str]


class Shelf(Protocol):
    """Texts by key, ``secret`` among them; :mod:`session_buddy.access.registry` says which there are."""

    def stamp(self) -> object:
        """What is another one after each change; cheap.

        Raises:
            SessionBuddyError: it cannot be read.
        """

    def read(self) -> Texts:
        """All of it.

        Raises:
            SessionBuddyError: it cannot be read.
        """

    def change(self, work: Callable[[Texts], Texts]) -> None:
        """Write what ``work`` makes of all of it, all or nothing; one at a time. What is empty is taken away.

        Raises:
            SessionBuddyError: it cannot be written; nothing was.
        """
