"""Who holds a port or a file, and where a process listens, as far as the system tells."""

import ipaddress
import os
from contextlib import suppress
from pathlib import Path
from typing import Literal, NamedTuple

import psutil


class Address(NamedTuple):
    """An address on which a process listens."""

    host: str
    port: int

    @property
    def everywhere(self) -> bool:
        """Whether it is open on every interface of this machine."""
        return ipaddress.ip_address(self.host).is_unspecified

    def __str__(self) -> str:
        """The address, and who can reach it."""
        shown = f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
        if self.everywhere:
            return f"{shown} (every interface)"
        return f"{shown} (this machine only)" if ipaddress.ip_address(self.host).is_loopback else shown


def program_of(pid: int) -> str | None:
    """The command line of a process, ``None`` if it is gone or not ours to look at."""
    try:
        process = psutil.Process(pid)
        return " ".join(process.cmdline()) or process.name()
    except psutil.Error:
        return None


def lock_holder(path: Path, kind: Literal["FLOCK", "POSIX"]) -> int | None:
    """The pid that holds a lock on a file, ``None`` where the system does not tell.

    It does not tell of other users' processes, nor of those in a container that is not this one.
    """
    with suppress(OSError):
        file = path.stat()
        for line in Path("/proc/locks").read_text().splitlines():
            _, found, _, _, pid, place, *_ = line.split()
            # Some file systems have another device here than in a file's status.
            if found == kind and place.rpartition(":")[2] == str(file.st_ino) and _has_open(pid, file):
                return int(pid)
    return None


def _has_open(pid: str, file: os.stat_result) -> bool:
    with suppress(OSError):
        return any(_leads_to(link, file) for link in Path("/proc", pid, "fd").iterdir())
    return False


def _leads_to(link: Path, file: os.stat_result) -> bool:
    with suppress(OSError):
        return os.path.samestat(link.stat(), file)
    return False


def listener_on(port: int) -> int | None:
    """The pid that listens on a TCP port, ``None`` where the system does not tell."""
    try:
        connections = psutil.net_connections("tcp")
    except psutil.Error:
        return None
    listening = (one for one in connections if one.status == psutil.CONN_LISTEN)
    return next((one.pid for one in listening if getattr(one.laddr, "port", None) == port), None)


def addresses_of(pid: int) -> list[Address]:
    """Where a process listens on TCP; none where the system does not tell."""
    try:
        connections = psutil.Process(pid).net_connections("tcp")
    except psutil.Error:
        return []
    return [
        Address(one.laddr.ip, one.laddr.port)
        for one in connections
        if one.status == psutil.CONN_LISTEN and one.laddr
    ]
