"""The command line in processes that have its libraries already: they fork from an interpreter that does.

Python needs two seconds to load what the server is made of, and a run of the tests starts a thousand servers
and commands. So each process that runs tests keeps an interpreter that has loaded these libraries, holds no
thread and no file, and forks for each command that it is asked for.

Real in such a child: it is a process of its own, with the environment, the working folder, the streams and
the session that it was asked to have. It runs ``session_buddy.cli.main`` on arguments of its own, opens a
database and sockets of its own, is signalled, killed and limited like any other, and ends as an interpreter
ends.

Shared is what was loaded before: the code of the libraries and of ``session_buddy``, and Python's own start.
What is decided there cannot be tested here: what a command imports, options of the interpreter, which program
is found on ``PATH``, what is said after the last ``atexit``. :func:`popen` starts a process of the ordinary
kind where an environment asks for what only a start of Python reads.

This file is also what that interpreter runs.
"""

import atexit
import functools
import gc
import importlib
import inspect
import json
import os
import pkgutil
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

COMMAND: Final = [sys.executable, "-P", "-m", "session_buddy"]
_OF_THE_RUN: Final = dict(os.environ)
# Beginnings of the names of variables that are read once, while Python starts or a library is loaded.
_READ_ONCE: Final = ("PYTHON", "LC_", "LANG", "LD_", "FASTMCP_", "PYDANTIC_", "TYPER_", "FORCE_COLOR")
_UTF8: Final = (".UTF-8", ".utf8")
_INHERITED: Final = ("HOME", "LANG", "LC_ALL", "LC_CTYPE", "PATH", "PYTHONWARNINGS", "TMPDIR")
# As the server sets them before it loads its libraries.
_OF_A_SERVER: Final = {"FASTMCP_LOG_ENABLED": "false", "FASTMCP_ENV_FILE": os.devnull}
_NOT_LOADED: Final = "session_buddy.__main__"
# What a command, and a server, load while they work. A name that a library has given up costs time only.
_LOADED_LATE: Final = (
    "_strptime",
    "encodings.ascii",
    "encodings.idna",
    "http.client",
    "psutil",
    "rich.console",
    "rich.table",
    "typer._adapters",
    "typer._click._textwrap",
    "typer._click.decorators",
)
_LOADED_LATE_BY_A_SERVER: Final = (
    "anyio._backends._asyncio",
    "concurrent.futures.thread",
    "fastmcp.server.context",
    "fastmcp.server.providers.prefab_payload",
    "fastmcp.server.sessions",
    "fastmcp.server.transforms.catalog",
    "griffe",
    "key_value.aio.adapters.pydantic",
    "key_value.aio.stores.memory",
    "uvicorn.lifespan.on",
    "uvicorn.protocols.http.h11_impl",
)
_LONGEST: Final = 200_000  # bytes of a request, which is one datagram
_STARTED: Final = inspect.signature(subprocess.Popen._execute_child)  # type: ignore[attr-defined]  # Popen's own
_PIPES: Final = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")


# --- for tests


def popen(command: Sequence[str], **options: Any) -> "subprocess.Popen[str]":
    """Start a process as :class:`subprocess.Popen` does, with text streams: forked, where that is the same.

    That is so for :data:`COMMAND` and its arguments, and for Python's ``-P -c`` with some code, where no
    variable that only a start of Python reads has another value than in the whole run of the tests.
    """
    options["text"] = True
    environ = options.get("env") or os.environ
    is_python = list(command[:2]) == COMMAND[:2] and (command[2] == "-c" or list(command[:4]) == COMMAND)
    if is_python and not any(_is_read_once(name, value) for name, value in environ.items()):
        return _Forked(list(command), **options)
    return subprocess.Popen(command, **options)


def run(
    command: Sequence[str], typed: str | None = None, timeout: float = 60, **options: Any
) -> "subprocess.CompletedProcess[str]":
    """Run a command to its end with its output piped, as :func:`popen` starts it; ``typed`` is its input."""
    stdin = subprocess.DEVNULL if typed is None else subprocess.PIPE
    piped = {"stdin": stdin, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with popen(command, **(piped | options)) as process:
        try:
            printed, complaint = process.communicate(typed, timeout)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, printed, complaint)


def _is_read_once(name: str, value: str) -> bool:
    if not name.startswith(_READ_ONCE) or _OF_THE_RUN.get(name) == value:
        return False
    return not (name.startswith(("LC_", "LANG")) and value.endswith(_UTF8))


class _Forked(subprocess.Popen[str]):
    """A process that the loaded interpreter forks: that one's child, so that one waits for it and tells."""

    _report: socket.socket

    def _execute_child(self, *values: Any) -> None:
        """Have the child forked; in the place of the method that would fork and load a program."""
        asked = _STARTED.bind(self, *values).arguments
        for option in ("preexec_fn", "pass_fds", "shell"):
            assert not asked[option], f"{option}: only a start can do that"
        given = asked["p2cread"], asked["c2pwrite"], asked["errwrite"]
        streams = [own if file == -1 else file for own, file in enumerate(given)]
        request = Request(
            list(asked["args"][2:]),
            dict(os.environ if asked["env"] is None else asked["env"]),
            bool(asked["start_new_session"]),
        )
        with ExitStack() as stack:
            self._report, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            stack.enter_context(theirs)
            folder = os.open(asked["cwd"] or os.curdir, os.O_PATH | os.O_DIRECTORY)
            stack.callback(os.close, folder)
            needs_server = any(
                word == "start" or "session_buddy.server" in word for word in request.arguments
            )
            _interpreter(needs_server).ask(request, [*streams, folder, theirs.fileno()])
        self.pid = self._heard()
        self._child_created = True
        self._close_pipe_fds(*(asked[name] for name in _PIPES))  # type: ignore[attr-defined]  # Popen's own

    def _internal_poll(self, *_: object, **__: object) -> int | None:
        if self.returncode is None and self._waitpid_lock.acquire(blocking=False):  # type: ignore[attr-defined]
            try:
                pid, status = self._try_wait(os.WNOHANG)
                if pid:
                    self._handle_exitstatus(status)  # type: ignore[attr-defined]
            finally:
                self._waitpid_lock.release()  # type: ignore[attr-defined]
        return self.returncode

    def _try_wait(self, flags: int) -> tuple[int, int]:
        """What ``os.waitpid`` would say."""
        self._report.setblocking(not flags & os.WNOHANG)
        try:
            status = self._heard()
        except BlockingIOError:
            return (0, 0)
        self._report.close()
        return (self.pid, status)

    def _heard(self) -> int:
        heard = self._report.recv(100)
        if not heard:
            raise RuntimeError("the interpreter that others fork from is gone")
        return int(heard)


class _Interpreter:
    """An interpreter that others fork from; it ends with the process that started it.

    Args:
        has_server: whether it has loaded the server's libraries, too. A command ends sooner without them.
    """

    def __init__(self, has_server: bool) -> None:  # noqa: FBT001 - what it is cached by
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # Longer than any environment: a request is one datagram, and so whole, whoever asks at the same time.
        self._control.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _LONGEST)
        environ = {name: os.environ[name] for name in _INHERITED if name in os.environ} | _OF_A_SERVER
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", __file__, str(theirs.fileno()), "server" if has_server else ""],
                env=environ,
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )
        atexit.register(self.close)

    def ask(self, request: "Request", files: list[int]) -> None:
        """Have a child forked that has these files: its three streams, its folder, where it is reported."""
        socket.send_fds(self._control, [json.dumps(request).encode()], files)

    def close(self) -> None:
        """End it."""
        self._control.close()
        self._process.wait()


@functools.cache
def _interpreter(has_server: bool) -> _Interpreter:  # noqa: FBT001 - what it is cached by
    return _Interpreter(has_server)


# --- what the interpreter runs


class Request(NamedTuple):
    """What a child is to be."""

    arguments: list[str]  # of Python, from ``-m`` or ``-c`` on
    environ: dict[str, str]
    has_own_session: bool


def load(*, has_server: bool) -> None:
    """Load everything that a command loads, and a server if it shall be one, now or later."""
    import session_buddy

    left_out = _NOT_LOADED if has_server else (*_NOT_LOADED, "session_buddy.server")
    for module in pkgutil.walk_packages(session_buddy.__path__, "session_buddy."):
        if not module.name.startswith(left_out):
            importlib.import_module(module.name)
    for name in (*_LOADED_LATE, *(_LOADED_LATE_BY_A_SERVER if has_server else ())):
        with suppress(ModuleNotFoundError):
            importlib.import_module(name)
    _rehearse_coverage()
    assert len(list(Path("/proc/self/task").iterdir())) == 1, "a thread would be missing in each child"
    # Each child would look through all of this for garbage when it ends, and so copy it: half a second.
    gc.collect()
    gc.freeze()


def _rehearse_coverage() -> None:
    """Measure nothing, once: what that looks up and loads is a tenth of a second, which children need not."""
    import multiprocessing.spawn  # noqa: F401 - what the settings have measured, too

    import coverage

    rehearsal = coverage.Coverage(data_file=None, config_file=False)
    rehearsal.start()
    rehearsal.stop()


def fork_on_request(control: socket.socket) -> Request | None:
    """Fork a child for each request, and report how it ended.

    Returns:
        In a child, what it is to be; nothing once nobody can ask any more.
    """
    reports: dict[int, socket.socket] = {}
    with ExitStack() as stack:
        # Not epoll, which children would share.
        waiting = stack.enter_context(selectors.PollSelector())
        waiting.register(stack.enter_context(control), selectors.EVENT_READ)
        while True:
            for key, _ in waiting.select():
                if key.data is not None:
                    waiting.unregister(key.fd)
                    os.close(key.fd)
                    _tell(reports.pop(key.data), os.waitpid(key.data, 0)[1])
                    continue
                asked, files, _, _ = socket.recv_fds(control, _LONGEST, 5)
                if not asked:
                    return None
                report = socket.socket(fileno=files.pop())
                pid = os.fork()
                if not pid:
                    for left in (report, *reports.values()):
                        left.close()
                    for pidfd in [key.fd for key in waiting.get_map().values() if key.data]:
                        os.close(pidfd)
                    request = Request(*json.loads(asked))
                    become(request, files)
                    return request
                for file in files:
                    os.close(file)
                reports[pid] = report
                waiting.register(os.pidfd_open(pid), selectors.EVENT_READ, pid)
                _tell(report, pid)


def _tell(report: socket.socket, number: int) -> None:
    """To a process that may have left meanwhile."""
    with suppress(BrokenPipeError):
        report.send(b"%d" % number)


def become(request: Request, files: list[int]) -> None:
    """Be what was asked for, as a process that was started is."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if request.has_own_session:
        os.setsid()
    *streams, folder = files
    os.fchdir(folder)
    for number, file in enumerate(streams):
        os.dup2(file, number)
    for file in files:
        os.close(file)
    os.environ.clear()
    os.environ.update(request.environ)
    time.tzset()
    for name in ("stdin", "stdout", "stderr"):
        own = getattr(sys, name)
        buffering = 1 if name == "stderr" else -1
        again = open(own.fileno(), own.mode, buffering, own.encoding, own.errors, "\n", closefd=False)  # noqa: SIM115
        setattr(sys, name, again)
        setattr(sys, f"__{name}__", again)
    if "COVERAGE_PROCESS_CONFIG" in os.environ:
        import coverage

        coverage.process_startup(force=True)


def say_no_more() -> None:
    """What DuckDB's binding says of the objects that :func:`load` keeps is for its authors.

    It comes after everything that Python does at an exit.
    """
    with suppress(OSError, ValueError):
        sys.stderr.flush()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


if __name__ == "__main__":
    atexit.register(say_no_more)  # the first to be registered is called last
    # Ctrl-C at the terminal is for those who run the tests; children get what it is by default.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    load(has_server=bool(sys.argv[2]))
    # A child has left the loop before it begins, and so ends where the interpreter ends.
    child = fork_on_request(socket.socket(fileno=int(sys.argv[1])))
    if child and child.arguments[0] == "-c":
        sys.argv = ["-c", *child.arguments[2:]]
        exec(child.arguments[1], {"__name__": "__main__"})  # noqa: S102 - as Python does
    elif child:
        from session_buddy.cli import main

        sys.argv = child.arguments[1:]
        main()
