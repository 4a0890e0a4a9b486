"""Who, where and which process: facts for a start event, each unknown where the platform cannot tell.

Nothing here asks the network or a directory service: a prompt waits for these answers.
"""

import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any, TypeVar

from oneiric import descriptors
from oneiric.contract import UNKNOWN
from oneiric.interrupts import suppress

_UNSET_LOGIN_UID = 4_294_967_295
_MAX_ANCESTORS = 64
# The namespaces that Linux starts with, wherever it runs.
_HOST_PROCESSES, _HOST_USERS = "pid:[4026531836]", "user:[4026531837]"
_CONTAINER_FILE = "/run/.containerenv"
# macOS has no CLOCK_BOOTTIME; its CLOCK_MONOTONIC counts sleep, too.
_BOOTTIME = getattr(time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC", None))

_T = TypeVar("_T")


def hostname() -> str:
    """The node name, as ``uname -n`` gives it."""
    return os.uname().nodename


def environment() -> dict[str, Any]:
    """Python version, platform and working folder."""
    system = os.uname()
    return {
        "python_version": ".".join(map(str, sys.version_info[:3])),
        "platform": f"{system.sysname}-{system.release}-{system.machine}",
        "cwd": _known(os.getcwd) or UNKNOWN,
    }


def origin(environ: Mapping[str, str], *, on_host: bool) -> dict[str, Any]:
    """Terminal, ssh client, sudo's user, real and login uid, container and pod: those that are known.

    Not ``SSH_CLIENT``: a terminal multiplexer renews ``SSH_CONNECTION`` alone when it is attached anew.
    """
    facts = {
        "tty": _known(os.ttyname, 0),
        "ssh_client": environ.get("SSH_CONNECTION", "").split(" ")[0] or None,
        "sudo_user": environ.get("SUDO_USER") or None,
        "real_uid": os.getuid(),
        "login_uid": login_uid(),
        **({} if on_host else _container(environ)),
    }
    return {name: value for name, value in facts.items() if value is not None}


def login_uid() -> int | None:
    """Who logged in, as the kernel has it; ``None``: nobody did, as far as it knows."""
    text = _read("/proc/self/loginuid")
    return int(text) if text.isdigit() and int(text) != _UNSET_LOGIN_UID else None


def on_host() -> bool:
    """Whether processes and accounts are those of the host, and not, as far as can be told, a container's."""
    marked = os.path.exists(_CONTAINER_FILE) or bool(os.environ.get("container"))  # noqa: SIM112 - its name
    return in_host_users() and pid_namespace() == _HOST_PROCESSES and not marked


def in_host_users() -> bool:
    """Whether users have the numbers that the host gave them."""
    return sys.platform != "linux" or _namespace("user") == _HOST_USERS


def process(pid: int) -> dict[str, Any] | None:
    """What makes ``pid`` name one process for good; ``None`` where the system cannot tell."""
    boot, namespace, ticks = boot_id(), pid_namespace(), process_start_ticks(pid)
    if UNKNOWN in {boot, namespace} or ticks is None:
        return None
    process = {"boot_id": boot, "pid_namespace": namespace, "started_at": ticks}
    # Whose numbers its users are, and which account file has their names.
    return process | {"user_namespace": _namespace("user"), "mount_namespace": _namespace("mnt")}


def boottime() -> float:
    """Seconds since this system booted, those that it slept among them; nobody sets this clock."""
    return time.clock_gettime(_BOOTTIME) if _BOOTTIME is not None else time.monotonic()


@cache
def boot_id() -> str:
    """The kernel's id of this boot, or ``unknown``."""
    return _read("/proc/sys/kernel/random/boot_id").strip() or UNKNOWN


def caught_signals() -> set[int]:
    """The signals that this process has a handler for, of Python or of C; none where nobody can tell."""
    found = re.search(r"(?m)^SigCgt:\s*([0-9a-f]+)$", _read("/proc/self/status"))
    mask = int(found[1], 16) if found else 0
    return {bit + 1 for bit in range(mask.bit_length()) if mask >> bit & 1}


def pid_namespace() -> str:
    """The pid namespace of this process, or ``unknown``."""
    return _namespace("pid")


def process_start_ticks(pid: int) -> int | None:
    """Start time of ``pid`` in clock ticks since boot; ``None`` where it is gone or cannot be read."""
    # The second field, a name, may hold anything.
    fields = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return int(fields[19]) if len(fields) > 19 and fields[0] not in "ZX" else None  # noqa: PLR2004 - proc(5)


def is_ancestor(pid: int) -> bool:
    """Whether ``pid`` is this process or one of its living ancestors."""
    # The parent's is known without a look into /proc; 0 is no process of this namespace.
    return pid != 0 and (pid == os.getppid() or any(one == pid for one, _ in ancestors()))


def ancestors() -> Iterator[tuple[int, str]]:
    """This process and those above it, as far as they can be read: the pid, and the program's name."""
    current = os.getpid()
    for _ in range(_MAX_ANCESTORS):
        before, _, after = _read(f"/proc/{current}/stat").rpartition(")")
        yield current, before.partition("(")[2]
        parent = after.split()[1:2]
        if parent in ([], ["0"]):
            return
        current = int(parent[0])


def uid_of(pid: int) -> int | None:
    """The uid that ``pid`` acts as, 0 where its program is root's; ``None`` where it cannot be seen."""
    found = _known(os.stat, f"/proc/{pid}")
    return found and found.st_uid


def read_bytes(path: str, most: int) -> bytes:
    """The first ``most`` bytes of a file; none where it cannot be read."""
    return _known(descriptors.read, path, most) or b""


def _read(path: str) -> str:
    return read_bytes(path, 4096).decode("utf-8", "replace")


def _namespace(kind: str) -> str:
    return _known(os.readlink, f"/proc/self/ns/{kind}") or UNKNOWN


def _container(environ: Mapping[str, str]) -> dict[str, str | None]:
    named = re.search(r'(?m)^name="(.+)"$', _read(_CONTAINER_FILE))
    in_pod = environ.get("KUBERNETES_SERVICE_HOST")
    return {
        "container": named[1] if named else environ.get("container") or None,
        "pod": (environ.get("POD_NAME") or hostname()) if in_pod else None,
    }


def _known(ask: Callable[..., _T], *about: object) -> _T | None:
    """What the system answers; ``None`` where it cannot tell."""
    with suppress(OSError):
        return ask(*about)
    return None
