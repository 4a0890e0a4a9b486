"""Who it is, and by what evidence: the account, and the person behind it.

It comes from the kernel, the account file and the environment: a directory service may be slow, and a
prompt waits. What is not known is a number, or left out. ``docs/identity.md`` says what each evidence proves.
"""

import os
import re
import sys
from collections.abc import Collection, Iterable, Mapping
from functools import cache
from itertools import pairwise
from typing import Any, Final

from oneiric import facts
from oneiric.contract import MAX_USERNAME
from oneiric.ssh_auth import SshKey

PERSON: Final = "ONEIRIC_PERSON"
SHARED_ACCOUNTS: Final = "ONEIRIC_SHARED_ACCOUNTS"
SHARED_ACCOUNTS_FILE: Final = "/etc/oneiric/shared-accounts"

_ACCOUNT_FILE: Final = "/etc/passwd"
_MAX_FILE_BYTES: Final = 1024 * 1024
# The codec that knows it would be imported at the start of a session.
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
# What the kernel shows for a user that a namespace has no number for.
_UNMAPPED: Final = 65534
# Below are the accounts of the system and its services.
_FIRST_PERSON: Final = 500 if sys.platform == "darwin" else 1000
CLAIMS: Final = ("SUDO_USER", "USER", "LOGNAME")
OF_ACCOUNTS: Final = {"login", "sudo", "account"}
# Not the names of accounts, so nothing to hold against one.
FULL_NAMES: Final = ("GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME")


def account_name(uid: int) -> str:
    """The name of an account as its file has it, else its number: with several names, none is right."""
    names = names_in_file(uid) if uid != _UNMAPPED or facts.on_host() else ()
    try:
        (name,) = (one.decode() for one in names)
    except ValueError:
        return str(uid)
    return name if is_presentable(name) else str(uid)


def person(
    environ: Mapping[str, str], login_uid: int | None, key: SshKey | None, said: str | None = None
) -> dict[str, Any] | None:
    """Who is behind the account by the strongest evidence; ``also``: whom weaker evidence names instead.

    Evidence are ``login_uid`` (``None`` also in a container, whose account file has other accounts), the
    ``key`` with which this login came over ssh, and what was ``said``, that person's word.
    """
    shared = _shared_accounts(environ.get(SHARED_ACCOUNTS, ""))
    by_uid = ((login_uid, "login"), (_sudo_caller(environ), "sudo"), (os.geteuid(), "account"))
    named = [(account_name(uid), evidence) for uid, evidence in by_uid if uid and _is_persons(uid, shared)]
    if key is not None and key.certificate:
        named.append((key.certificate, "ssh_key" if key.by_root else "claimed"))
    named.append((said if said and is_presentable(said) else environ.get(PERSON, ""), "asked"))
    named += [(environ.get(variable, ""), "claimed") for variable in CLAIMS]
    full = [(environ.get(variable, ""), "claimed") for variable in FULL_NAMES]
    account = account_name(os.geteuid())
    return ranked(named, account, shared) or ranked(full, account, shared)


def ranked(
    named: Iterable[tuple[str, str]], account: str, shared: Collection[str] = ()
) -> dict[str, Any] | None:
    """Of names with their evidence, the strongest first, the first as the person and the others in ``also``.

    Left out is what only repeats the account, or names a shared one.
    """
    found: dict[str, str] = {}
    for name, evidence in named:
        if is_presentable(name) and name not in shared and (name != account or evidence in OF_ACCOUNTS):
            found.setdefault(name, evidence)
    people: list[dict[str, Any]] = [{"name": name, "evidence": evidence} for name, evidence in found.items()]
    return people[0] | ({"also": people[1:]} if people[1:] else {}) if people else None


def _sudo_caller(environ: Mapping[str, str]) -> int | None:
    """The uid of the process that ran the outermost ``sudo`` above this one, if the kernel shows it.

    Looked for where ``SUDO_USER`` says that there is one: every ancestor takes a look into ``/proc``.
    """
    if "SUDO_USER" not in environ:
        return None
    callers = [
        facts.uid_of(parent)
        for (pid, program), (parent, _) in pairwise(facts.ancestors())
        if program == "sudo" and facts.uid_of(pid) == 0
    ]
    return callers[-1] if callers else None


def _is_persons(uid: int, shared: frozenset[str]) -> bool:
    """Whether an account of this number can be one person's own.

    In a namespace of users whoever made it has whatever number was asked for.
    """
    if uid < _FIRST_PERSON or uid == _UNMAPPED or not facts.in_host_users():
        return False
    return shared.isdisjoint({str(uid), account_name(uid)})


@cache
def names_in_file(uid: int) -> frozenset[bytes]:
    """The names that the account file has for a number; a line that begins otherwise is for name services."""
    lines = facts.read_bytes(_ACCOUNT_FILE, _MAX_FILE_BYTES)
    return frozenset(re.findall(rb"(?m)^([^:\n#+-][^:\n]*):[^:\n]*:0*%d:" % uid, lines))


@cache
def _shared_accounts(named: str) -> frozenset[str]:
    """The accounts that are no single person's: those ``named``, and those in the file of this host."""
    listed = facts.read_bytes(SHARED_ACCOUNTS_FILE, _MAX_FILE_BYTES).removeprefix(_BYTE_ORDER_MARK)
    lines = [line.partition("#")[0] for line in listed.decode("utf-8", "replace").splitlines()]
    return frozenset(one.strip() for one in (*named.split(","), *lines)) | {"root"}


def is_presentable(name: object) -> bool:
    """Whether ``name`` is a text that is shown whole, on one line."""
    return isinstance(name, str) and len(name) <= MAX_USERNAME and name.isprintable() and bool(name.strip())
