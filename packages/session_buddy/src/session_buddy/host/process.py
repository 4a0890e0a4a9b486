"""The server as a process: find it, start it in the background, stop it; only one at a time."""

import fcntl
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

from oneiric.paths import Paths
from oneiric.transport import ServerInfo, read_server_file, require_own
from session_buddy.errors import AlreadyRunning, ConfigurationError, ServerFailed

START_SECONDS: Final = 30.0
STOP_SECONDS: Final = 15.0
_POLL_SECONDS: Final = 0.02
_ANSWER_SECONDS: Final = 2.0


@contextmanager
def only_one(paths: Paths) -> Iterator[None]:
    """Hold this user's lock for one server, or one restore of a backup; it goes with the process.

    Raises:
        AlreadyRunning: another process holds it.
        ConfigurationError: it cannot be made.
    """
    path = _lock_file(paths)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = path.open("a")
    except OSError as error:
        raise ConfigurationError(f"state folder {path.parent}: {error.strerror}") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            # A file that a killed server left names nobody.
            info = running(paths)
            raise AlreadyRunning(info and info.pid, info and info.url) from None
        yield


def running(paths: Paths) -> ServerInfo | None:
    """What ``server.json`` says, if somebody listens on the socket of this user that it names.

    A server that starts removes the file of a killed one before it opens its own socket, so the pid in it is
    that of whoever listens.
    """
    info = read_server_file(paths)
    return info if info is not None and _listens(info) else None


def running_when_stable(paths: Paths) -> ServerInfo | None:
    """Like :func:`running`, once that is certain: a server that comes up or leaves is waited for.

    Raises:
        AlreadyRunning: after 30 s one, or a restore of a backup, is still at it.
    """
    deadline = time.monotonic() + START_SECONDS
    while (info := running(paths)) is None and _is_held(paths):
        if time.monotonic() > deadline:
            raise AlreadyRunning
        time.sleep(_POLL_SECONDS)
    return info


def wait_running(paths: Paths, seconds: float) -> ServerInfo | None:
    """Like :func:`running`, for a server that may be coming up: asked again for up to ``seconds``."""
    deadline = time.monotonic() + seconds
    while (info := running(paths)) is None and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
    return info


def start_background(paths: Paths, flags: Mapping[str, object]) -> tuple[ServerInfo, bool]:
    """Start a server that outlives this process; returns once its ``/health`` answers.

    Args:
        paths: this user's folders.
        flags: options of ``mcp start`` by name, ``{"port": 9000}``; those that are ``None`` are left out.

    Returns:
        The server, and whether it is the new one: another process may have started one meanwhile.

    Raises:
        ServerFailed: it did not come up; the text is its own last line.
    """
    with tempfile.TemporaryFile() as said:
        child = _spawn(flags, said)
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            gone = child.poll() is not None
            info = running(paths)
            is_new = info is not None and info.pid == child.pid
            if info is not None and (gone or is_new) and healthy(info.url):
                return info, is_new
            if gone:
                raise ServerFailed(
                    _last_line(said) or f"the server left at once (exit code {child.returncode})"
                )
            time.sleep(_POLL_SECONDS)
    child.kill()
    child.wait()
    raise ServerFailed(
        f"the server did not answer within {START_SECONDS:.0f} s and was stopped; "
        "to see why, start it without --background"
    )


def stop(info: ServerInfo) -> None:
    """Ask a server to stop, and wait until its process is gone.

    Raises:
        ServerFailed: it is still there after 15 s.
    """
    import psutil

    try:
        process = psutil.Process(info.pid)
        process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        # A parent that never asks leaves a zombie: for us it is gone.
        while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
            if time.monotonic() > deadline:
                raise ServerFailed(f"the server (pid {info.pid}) does not stop; see its log {info.log}")
            time.sleep(_POLL_SECONDS)
    except psutil.NoSuchProcess:
        return


def healthy(url: str) -> bool:
    """Whether the server behind ``url`` answers ``/health`` over TCP."""
    import http.client  # 60 ms that only starting a server needs
    from urllib.parse import urlsplit

    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=_ANSWER_SECONDS)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _lock_file(paths: Paths) -> Path:
    return paths.server_file.with_name("server.lock")


def _is_held(paths: Paths) -> bool:
    """Whether a process holds this user's lock."""
    try:
        with _lock_file(paths).open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return isinstance(error, BlockingIOError)
    return False


def _listens(info: ServerInfo) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(_ANSWER_SECONDS)
        try:
            require_own(info.socket)
            connection.connect(os.fspath(info.socket))
        except OSError:
            return False
    return True


def _spawn(flags: Mapping[str, object], said: IO[bytes]) -> subprocess.Popen[bytes]:
    options = [f"--{name.replace('_', '-')}={value}" for name, value in flags.items() if value is not None]
    # -P: a folder named session_buddy where the user stands must not be taken for the package.
    command = [sys.executable, "-P", "-m", "session_buddy", "mcp", "start", *options]
    return subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True
    )


def _last_line(said: IO[bytes]) -> str:
    said.seek(0)
    lines = said.read().decode(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "").removeprefix("Error: ")
