"""A real server as a process of its own."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Self

from oneiric.paths import user_paths
from session_buddy.host.server_file import ServerInfo, read_server_file
from tests import forkserver

_SERVE: Final = """
import sys
from session_buddy.errors import SessionBuddyError
from session_buddy.server.wiring import serve
from session_buddy.host.layers import load_settings
try:
    serve(load_settings(), lambda lines: print(*lines, sep="\\n", flush=True))
except SessionBuddyError as error:
    sys.exit(f"{type(error).__name__}: {error}")
"""


def environ_in(home: Path, **settings: str) -> dict[str, str]:
    """The environment of a user whose folders are all below ``home``, for a server of several tests."""
    run = home / "run"
    run.mkdir(mode=0o700)
    folders = {f"XDG_{name}_HOME": str(home / name.lower()) for name in ("DATA", "CONFIG", "STATE")}
    environ = {"HOME": str(home), "XDG_RUNTIME_DIR": str(run), "SESSION_BUDDY_PORT": "0"} | folders | settings
    assert user_paths(environ).socket.is_relative_to(run)
    return environ


def port_of(info: ServerInfo) -> int:
    """The port that a server listens on."""
    return int(info.url.rsplit(":", 1)[1].removesuffix("/mcp"))


class ServerProcess:
    """A server in a process of its own, at home in the environment's ``HOME``; ended when it is left.

    Args:
        environ: names home and settings; on top of this process's environment.
        files: how many descriptors it may have.
        patience: seconds without a byte after which it closes a connection; ``None``: as many as it has.

    Attributes:
        lines: what it printed until it was up.
    """

    def __init__(
        self,
        environ: Mapping[str, str] | None = None,
        files: int | None = None,
        patience: float | None = None,
    ) -> None:
        prelude = ""
        if files is not None:
            prelude += f"import resource as r\nr.setrlimit(r.RLIMIT_NOFILE, ({files}, {files}))\n"
        if patience is not None:
            prelude += f"from session_buddy.server import serving\nserving.SILENT_SECONDS = {patience}\n"
            prelude += f"serving.REQUEST_SECONDS = {2 * patience}\n"
        self.environ = os.environ | dict(environ or {})
        self.lines: list[str] = []
        self.process = forkserver.popen(
            [sys.executable, "-P", "-c", prelude + _SERVE],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.environ,
            cwd=self.environ["HOME"],
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.stop()

    def until_up(self) -> ServerInfo:
        """Wait until it answers; returns what it says of itself.

        Raises:
            RuntimeError: it ended instead; carries its complaint.
        """
        for line in self.process.stdout or ():
            self.lines.append(line.rstrip())
            if line.startswith("Log:") and (info := read_server_file(user_paths(self.environ))):
                return info
        raise RuntimeError(self.refusal())

    def refusal(self) -> str:
        """Wait until it ends by itself; returns what it said on the error stream."""
        _, complaint = self.process.communicate()
        return str(complaint)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send it a signal and wait; returns its exit status."""
        self.process.send_signal(number)
        self.process.communicate(timeout=60)
        return self.process.returncode
