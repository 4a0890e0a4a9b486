"""The server as a process: only one at a time; find it, start it in the background."""

import fcntl
import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Final, Literal

from oneiric.descriptors import make_folder
from oneiric.paths import Paths
from oneiric.transport import require_own
from session_buddy.errors import AlreadyRunning, ConfigurationError, ServerFailed
from session_buddy.host.server_file import ServerInfo, read_server_file
from session_buddy.host.variables import DATABASE, PREFIX

START_SECONDS: Final = 60.0
HANG_SECONDS: Final = 5.0
_POLL_SECONDS: Final = 0.02
_MOST_SAID: Final = 4096
_ANSWER_SECONDS: Final = 2.0
_LOCAL_PEERPID: Final = 2  # of macOS, on level 0
END_IT: Final = "end it with: session-buddy mcp stop --force"

Purpose = Literal["server", "restore"]


@contextmanager
def only_one(paths: Paths, purpose: Purpose) -> Iterator[None]:
    """Hold this user's lock for one server, or one restore of a backup; it goes with the process.

    Raises:
        AlreadyRunning: another process holds it.
        ConfigurationError: it cannot be made.
    """
    path = lock_file(paths)
    try:
        make_folder(path.parent)
        lock = path.open("ab", buffering=0)
    except OSError as error:
        raise ConfigurationError(f"state folder {path.parent}: {error.strerror}") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            # A file that a killed server left names nobody.
            info = running(paths)
            raise AlreadyRunning(info and info.pid, info and info.url) from None
        # A full disk: without a purpose in it the lock counts as a restore's, which mcp stop never signals.
        with suppress(OSError):
            lock.truncate(0)
            lock.write(purpose.encode())
        yield


def running(paths: Paths) -> ServerInfo | None:
    """What ``server.json`` says, if somebody listens on the socket of this user that it names.

    The pid is the listener's, as the kernel tells it; where it does not, of a process in another container
    or of one that takes no more connections, it is what the file says.
    """
    while (info := read_server_file(paths)) is not None:
        pid = listener(info.socket)
        # A server removes a killed one's file before it listens itself: what was read before may be that.
        if read_server_file(paths) == info:
            return None if pid is None else info._replace(pid=pid or info.pid)
    return None


def require_answer(info: ServerInfo) -> None:
    """Make sure that a server does not hang: it has 5 s to answer a request that asks for nothing.

    Raises:
        ServerFailed: it does not answer.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(HANG_SECONDS)
        try:
            connection.connect(os.fspath(info.socket))
            connection.sendall(b"HEAD / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            connection.recv(1)
        except (TimeoutError, BlockingIOError):
            raise not_responding(info) from None
        except OSError:
            return  # it leaves just now, which the caller's own request finds


def not_responding(info: ServerInfo) -> ServerFailed:
    """What is wrong with a server that listens and does not answer."""
    return ServerFailed(
        f"Session-Buddy (pid {info.pid}) hangs, it has not answered for {HANG_SECONDS:.0f} s; {END_IT}"
    )


def wait_running(paths: Paths, seconds: float) -> ServerInfo | None:
    """Like :func:`running`, for a server that may be coming up: asked again for up to ``seconds``."""
    deadline = time.monotonic() + seconds
    while (info := running(paths)) is None and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
    return info


def start_background(
    paths: Paths,
    flags: Mapping[str, object],
    settings: Mapping[str, str] | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> tuple[ServerInfo, bool]:
    """Start a server that outlives this process; returns once it answers.

    As long as it says something, it is waited for: that a large database becomes one of its version.

    Args:
        paths: this user's folders.
        flags: options of ``mcp start`` by name, ``{"port": 9000}``; those that are ``None`` are left out.
        settings: variables for it, instead of those of this process that have the same names.
        tell: is given each line that it says meanwhile.

    Returns:
        The server, and whether it is the new one: another process may have started one meanwhile.

    Raises:
        ServerFailed: it did not come up; the text is its own last line.
    """
    with tempfile.TemporaryFile() as said:
        child = _spawn(flags, {**os.environ, **(settings or {})}, said)
        heard, deadline = 0, time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            # Read before the look: what it says when it can be found is for those who started it themselves.
            news = os.pread(said.fileno(), _MOST_SAID, heard)
            gone = child.poll() is not None
            info = running(paths)
            is_new = info is not None and info.pid == child.pid
            if info is not None and (gone or is_new):
                return info, is_new
            if gone:
                raise ServerFailed(
                    _last_line(said) or f"the server left at once (exit code {child.returncode})"
                )
            if news and info is None and not news.startswith(b"Error: "):
                heard, deadline = heard + len(news), time.monotonic() + START_SECONDS
                for line in news.decode(errors="replace").splitlines():
                    tell(line)
            time.sleep(_POLL_SECONDS)
    child.kill()
    child.wait()
    raise ServerFailed(
        f"the server did not answer within {START_SECONDS:.0f} s and was stopped; "
        "to see why, start it without --background"
    )


def options_of(flags: Mapping[str, object]) -> list[str]:
    """Options as they are typed: ``{"port": 9000, "db": None}`` is ``--port=9000``."""
    given = {f"--{name.replace('_', '-')}": value for name, value in flags.items() if value is not None}
    return [name if value is True else f"{name}={value}" for name, value in given.items()]


def last_settings(paths: Paths) -> dict[str, str]:
    """The settings, as variables, of the server that runs, or ran until it was killed; none if none did.

    Not its secret, which no file holds that its user did not write.
    """
    if read_server_file(paths) is None:
        return {}
    with suppress(OSError, ValueError):
        return dict(json.loads(paths.server_file.read_bytes()).get("settings", {}))
    return {}


def lock_file(paths: Paths) -> Path:
    """What a server, or a restore of a backup, holds while it is at work."""
    return paths.server_file.with_name("server.lock")


def held_lock(paths: Paths) -> str | None:
    """What the process is for that holds this user's lock, ``None`` if nobody does."""
    try:
        with lock_file(paths).open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return lock.read()
    except FileNotFoundError:
        pass
    except OSError as error:
        raise ConfigurationError(f"{lock_file(paths)} cannot be looked at: {error.strerror}") from None
    return None


def listener(path: Path) -> int | None:
    """Who listens on a socket of this user's: the process, 0 if it is not to be seen, ``None`` if nobody."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(_ANSWER_SECONDS)
        try:
            require_own(path)
            connection.connect(os.fspath(path))
            if sys.platform == "darwin":
                return connection.getsockopt(0, _LOCAL_PEERPID)
            peer = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        except (TimeoutError, BlockingIOError):  # too many wait there to be accepted
            return 0
        except OSError:
            return None
    return int(struct.unpack("3i", peer)[0])


def _spawn(
    flags: Mapping[str, object], environ: Mapping[str, str], said: IO[bytes]
) -> subprocess.Popen[bytes]:
    # Everybody sees arguments, and a URL may have a password.
    if "://" in str(flags.get("db")):
        unnamed = {name: value for name, value in environ.items() if name not in DATABASE}
        environ = unnamed | {f"{PREFIX}STORAGE_URL": str(flags["db"])}
        flags = {**flags, "db": None}
    # -P: a folder named session_buddy where the user stands must not be taken for the package.
    command = [sys.executable, "-P", "-m", "session_buddy", "mcp", "start", *options_of(flags)]
    return subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, env=environ, start_new_session=True
    )


def _last_line(said: IO[bytes]) -> str:
    said.seek(0)
    lines = said.read().decode(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "").removeprefix("Error: ")
