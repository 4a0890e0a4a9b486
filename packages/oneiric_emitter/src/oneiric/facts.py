"""Who, where and which process: facts for a start event, each unknown where the platform cannot tell.

Nothing here asks the network or a directory service: a prompt waits for these answers.
"""

import os
import sys
import time
from collections.abc import Mapping
from functools import cache
from typing import Any

from oneiric.contract import UNKNOWN

_UNSET_LOGIN_UID = 4_294_967_295
_MAX_ANCESTORS = 64
_MAX_PASSWD_BYTES = 1024 * 1024
# macOS has no CLOCK_BOOTTIME; its CLOCK_MONOTONIC counts sleep, too.
_BOOTTIME = getattr(time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC", None))


def user(environ: Mapping[str, str], home: str) -> dict[str, Any]:
    """Who the environment says this is, else the effective account: a directory service may be slow."""
    named = (environ.get(variable) for variable in ("USER", "LOGNAME", "USERNAME"))
    return {"username": next(filter(None, named), None) or _account_name(os.geteuid()), "home": home}


def hostname() -> str:
    """The node name, as ``uname -n`` gives it."""
    return os.uname().nodename


def environment() -> dict[str, Any]:
    """Python version, platform and working folder."""
    system = os.uname()
    return {
        "python_version": ".".join(map(str, sys.version_info[:3])),
        "platform": f"{system.sysname}-{system.release}-{system.machine}",
        "cwd": _cwd(),
    }


def origin(environ: Mapping[str, str]) -> dict[str, Any]:
    """Terminal, ssh client, sudo user and login uid, those that are known."""
    facts = {
        "tty": _tty(),
        "ssh_client": environ.get("SSH_CLIENT", "").split(" ")[0] or None,
        "sudo_user": environ.get("SUDO_USER") or None,
        "login_uid": _login_uid(),
    }
    return {name: value for name, value in facts.items() if value is not None}


def process(pid: int) -> dict[str, Any] | None:
    """What makes ``pid`` name one process for good; ``None`` where the system cannot tell."""
    boot, namespace, ticks = boot_id(), pid_namespace(), process_start_ticks(pid)
    if UNKNOWN in {boot, namespace} or ticks is None:
        return None
    return {"boot_id": boot, "pid_namespace": namespace, "started_at": ticks}


def boottime() -> float:
    """Seconds since this system booted, those that it slept among them; nobody sets this clock."""
    return time.clock_gettime(_BOOTTIME) if _BOOTTIME is not None else time.monotonic()


@cache
def boot_id() -> str:
    """The kernel's id of this boot, or ``unknown``."""
    return _read("/proc/sys/kernel/random/boot_id").strip() or UNKNOWN


def pid_namespace() -> str:
    """The pid namespace of this process, or ``unknown``."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return UNKNOWN


def process_start_ticks(pid: int) -> int | None:
    """Start time of ``pid`` in clock ticks since boot; ``None`` where it is gone or cannot be read."""
    fields = _stat(pid)
    return int(fields[19]) if len(fields) > 19 and fields[0] not in "ZX" else None  # noqa: PLR2004 - proc(5)


def is_ancestor(pid: int) -> bool:
    """Whether ``pid`` is this process or one of its living ancestors."""
    current = os.getpid()
    for _ in range(_MAX_ANCESTORS):
        if current == pid:
            return True
        fields = _stat(current)
        if len(fields) < 2:  # noqa: PLR2004 - proc(5): state, parent
            return pid == os.getppid()
        current = int(fields[1])
        if current == 0:
            return False
    return False


def _stat(pid: int) -> list[str]:
    """The fields of ``/proc/<pid>/stat`` from the third on: the second, a name, may hold anything."""
    return _read(f"/proc/{pid}/stat").rpartition(")")[2].split()


def _read(path: str, most: int = 4096) -> str:
    try:
        with open(path, "rb", buffering=0) as file:
            return (file.read(most) or b"").decode("utf-8", "replace")
    except OSError:
        return ""


@cache
def _account_name(uid: int) -> str:
    """An account's name, from the file where it can be: ``pwd`` asks whoever else may know."""
    for line in _read("/etc/passwd", _MAX_PASSWD_BYTES).splitlines():
        fields = line.split(":")
        if fields[2:3] == [str(uid)]:
            return fields[0]
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _cwd() -> str:
    try:
        return os.getcwd()
    except OSError:
        return UNKNOWN


def _tty() -> str | None:
    try:
        return os.ttyname(0)
    except OSError:
        return None


def _login_uid() -> int | None:
    text = _read("/proc/self/loginuid")
    return int(text) if text.isdigit() and int(text) != _UNSET_LOGIN_UID else None
