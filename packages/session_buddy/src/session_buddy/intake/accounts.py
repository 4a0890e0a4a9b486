"""Names of accounts that only a directory service knows: the shells of this host could not wait for it."""

import os
import pwd
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from queue import SimpleQueue
from threading import Condition, Thread
from typing import Any, Final

from oneiric import facts, identity
from oneiric.contract import MAX_UID
from oneiric.identity import OF_ACCOUNTS, ranked

LIMIT_SECONDS: Final = 1.0
_NAMES: Final = (("user", "username"), ("origin", "login_name"))
_UIDS: Final = (("user", "uid"), ("origin", "login_uid"))


def name_of(uid: int) -> str | None:
    """What the system's name services call an account; ``None``: they know none. May take minutes.

    What the account file has is no question for them: the shell read it, and could not use it.
    """
    with suppress(KeyError):
        return None if identity.names_in_file(uid) else pwd.getpwuid(uid).pw_name
    return None


class Accounts:
    """Puts names in the place of numbers, in the starts of shells of this host.

    Args:
        look_up: the name of an account, however long it takes: it is asked in a thread of its own.
        seconds: how long the events of one call wait for it; then the numbers stand.
    """

    def __init__(
        self, look_up: Callable[[int], str | None] = name_of, *, seconds: float = LIMIT_SECONDS
    ) -> None:
        self._look_up = look_up
        self._seconds = seconds
        self._asked: SimpleQueue[int] = SimpleQueue()
        self._names: dict[int, str | None] = {}
        self._waiting: set[int] = set()
        self._answer = Condition()
        self._thread: Thread | None = None

    def __repr__(self) -> str:
        return f"<Accounts({len(self._names)} known)>"

    def lack_names(self, batch: Sequence[object]) -> bool:
        """Whether :meth:`named` has somebody to ask for."""
        return any(_numbers(raw) for raw in batch)

    def named(self, batch: Sequence[object]) -> list[object]:
        """The events, with the names of accounts that they have the numbers of; waits for the look-up."""
        names = self._found({uid for raw in batch for uid in _numbers(raw)})
        return [
            _with_names(raw, names) if isinstance(raw, Mapping) and _numbers(raw) else raw for raw in batch
        ]

    def _found(self, uids: Collection[int]) -> dict[str, str]:
        with self._answer:
            for uid in uids:
                if self._names.get(uid) is None and uid not in self._waiting:
                    self._names.pop(uid, None)
                    self._waiting.add(uid)
                    self._asked.put(uid)
            if self._waiting and self._thread is None:
                self._thread = Thread(target=self._ask, name="accounts", daemon=True)
                self._thread.start()
            self._answer.wait_for(lambda: self._names.keys() >= set(uids), self._seconds)
            return {str(uid): name for uid in uids if (name := self._names.get(uid))}

    def _ask(self) -> None:
        while True:
            uid = self._asked.get()
            name = self._look_up(uid)
            with self._answer:
                self._names[uid] = name if name and identity.is_presentable(name) else None
                self._waiting.discard(uid)
                self._answer.notify_all()


def _numbers(raw: object) -> set[int]:
    """The uids that stand for names in a start of this host; another's numbers are other accounts."""
    if not isinstance(raw, Mapping) or raw.get("event_type") != "session_start":
        return set()
    told = [_part(raw, part).get(key) for part, key in _NAMES]
    uids = [_part(raw, part).get(key) for part, key in _UIDS]
    found = {uid for uid in uids if isinstance(uid, int) and str(uid) in told}
    found |= {
        int(name) for name, how in _people(raw) if how in OF_ACCOUNTS and re.fullmatch("[0-9]{1,10}", name)
    }
    found = {uid for uid in found if 0 <= uid <= MAX_UID}
    return found if found and _is_here(_part(raw, "process")) else set()


def _people(raw: Mapping[Any, Any]) -> list[tuple[str, str]]:
    """The names of a start's person and of the others, with their evidence, as far as they are texts."""
    also = _part(raw, "person").get("also")
    told = [_part(raw, "person"), *(also if isinstance(also, list) else ())]
    found = [(one.get("name"), one.get("evidence")) for one in told if isinstance(one, Mapping)]
    return [(name, how) for name, how in found if isinstance(name, str) and isinstance(how, str)]


def _is_here(process: Mapping[Any, Any]) -> bool:
    """Whether a process has its users, and their names, from where this one has them."""
    ours = facts.process(os.getpid()) or {}
    kinds = ("boot_id", "pid_namespace", "user_namespace", "mount_namespace")
    return bool(ours) and all(process.get(kind) == ours[kind] for kind in kinds)


def _with_names(raw: Mapping[Any, Any], names: Mapping[str, str]) -> Mapping[Any, Any]:
    changed = dict(raw)
    for part, key in _NAMES:
        told = _part(raw, part).get(key)
        if isinstance(told, str) and told in names:
            changed[part] = {**changed[part], key: names[told]}
    people = [(names.get(name, name) if how in OF_ACCOUNTS else name, how) for name, how in _people(raw)]
    if people:
        # With the names known, what a variable said may only repeat one.
        changed["person"] = ranked(people, str(_part(changed, "user").get("username")))
    return changed


def _part(raw: Mapping[Any, Any], name: str) -> Mapping[Any, Any]:
    part = raw.get(name)
    return part if isinstance(part, Mapping) else {}
