"""Commands in processes that have their libraries already: they fork from an interpreter that has.

Python needs two seconds to load what the server is made of, one for a shell, and a run of the tests starts a
thousand of them. So each process that runs tests keeps interpreters that have loaded these libraries, hold no
thread and no file, and fork for each command that they are asked for.

Real in such a child: it is a process of its own, with the environment, the working folder, the streams, the
terminal and the session that it was asked to have. It runs the module or the code that it was given, opens a
database and sockets of its own, is signalled, killed and limited like any other, and ends as an interpreter
ends.

Shared is what was loaded before: the code of the libraries and of ``session_buddy``, and Python's own start.
What is decided there cannot be tested here: what a command imports, options of the interpreter, which program
is found on ``PATH``, what is said after the last ``atexit``. :func:`popen` starts a process of the ordinary
kind where a command or its environment asks for what only a start of Python gives. A command that starts a
server in the background is given one that is forked as well.

This file is also what such an interpreter runs.
"""

import atexit
import fcntl
import functools
import gc
import importlib
import inspect
import json
import os
import pkgutil
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import sysconfig
import termios
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any, Final, NamedTuple, NoReturn

COMMAND: Final = [sys.executable, "-P", "-m", "session_buddy"]
_OF_THE_RUN: Final = dict(os.environ)
# What has a process measured by coverage: where it is forked, that costs little; where Python starts it, it
# doubles the time in which a server's libraries are loaded. So tests may take it out of their environment.
MEASURED: Final = {name: value for name, value in _OF_THE_RUN.items() if name == "COVERAGE_PROCESS_CONFIG"}
# Beginnings of the names of variables that are read once, while Python starts or a library is loaded.
_READ_ONCE: Final = ("PYTHON", "LC_", "LANG", "LD_", "FASTMCP_", "PYDANTIC_", "TYPER_", "FORCE_COLOR")
_UTF8: Final = (".UTF-8", ".utf8")
_INHERITED: Final = ("HOME", "LANG", "LC_ALL", "LC_CTYPE", "PATH", "PYTHONWARNINGS", "TMPDIR")
# As the server sets them before it loads its libraries.
_OF_A_SERVER: Final = {"FASTMCP_LOG_ENABLED": "false", "FASTMCP_ENV_FILE": os.devnull}
_MODULES: Final = ("session_buddy", "mahavishnu")
_LONGEST: Final = 200_000  # bytes of a request, which is one datagram
_STARTED: Final = inspect.signature(subprocess.Popen._execute_child)  # type: ignore[attr-defined]  # Popen's own
_PIPES: Final = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")


class Kind(NamedTuple):
    """What an interpreter has loaded.

    Args:
        libraries: of others, by what of ours needs them; loaded first, so that they are not measured.
        packages: of ours, with all their modules.
        left_out: modules of those that it has not loaded.
        late: what is loaded while a command works, not at the top of a module. A name that a library has
            given up costs time only.
    """

    libraries: tuple[str, ...]
    packages: tuple[str, ...]
    left_out: tuple[str, ...]
    late: tuple[str, ...]


# One that has loaded less ends sooner.
_COMMAND: Final = Kind(
    libraries=("duckdb", "psutil", "pydantic_settings", "structlog", "typer", "yaml", "joserfc.jwt"),
    packages=("session_buddy",),
    left_out=("session_buddy.__main__", "session_buddy.server"),
    late=(
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
    ),
)
_SERVER: Final = Kind(
    libraries=(*_COMMAND.libraries, "fastmcp", "uvicorn"),
    packages=("session_buddy",),
    left_out=("session_buddy.__main__",),
    late=(
        *_COMMAND.late,
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
    ),
)
# Not our own shell, which is a guest like any other; nor what of IPython looks at its terminal when loaded.
_SHELL: Final = Kind(
    libraries=(),
    packages=(),
    left_out=(),
    late=(
        "IPython.core.interactiveshell",
        "IPython.core.magic_arguments",
        "IPython.core.shellapp",
        "IPython.lib.clipboard",
        "IPython.terminal.debugger",
        "IPython.terminal.ptutils",
        "IPython.terminal.shortcuts",
        "email.message",
        "importlib.metadata",
        "importlib.resources",
        "prompt_toolkit.patch_stdout",
        "prompt_toolkit.shortcuts",
        "typer._adapters",
        "typer._click.decorators",
        "yaml",
    ),
)
_KINDS: Final = {"command": _COMMAND, "server": _SERVER, "shell": _SHELL}


# --- for tests


def popen(command: Sequence[str], *, text: bool = True, **options: Any) -> "subprocess.Popen[Any]":
    """Start a process as :class:`subprocess.Popen` does: forked, where that is the same.

    That is so for this Python with a module of ours or with some code, where no variable that only a start of
    Python reads has another value than in the whole run of the tests.
    """
    kind: type[subprocess.Popen[Any]] = _Forked if can_fork(command, options.get("env")) else subprocess.Popen
    return kind(list(command), text=text, **options)


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


def can_fork(command: Sequence[str], environ: Mapping[str, str] | None) -> bool:
    """Whether a process that is forked is the same as one that Python starts."""
    words = [word for word in command[1:3] if word != "-P"]
    if command[0] != sys.executable or not words:
        return False
    given = command[list(command).index(words[0]) + 1 :]
    return (words[0] == "-c" or (words[0] == "-m" and given[0] in _MODULES)) and not any(
        _is_read_once(name, value) for name, value in (environ or os.environ).items()
    )


def _is_read_once(name: str, value: str) -> bool:
    if not name.startswith(_READ_ONCE) or _OF_THE_RUN.get(name) == value:
        return False
    return not (name.startswith(("LC_", "LANG")) and value.endswith(_UTF8))


def _kind_of(words: Sequence[str]) -> str:
    """Which interpreter has what a command needs."""
    if "mahavishnu" in words or any("oneiric.shell" in word for word in words):
        return "shell"
    is_server = any(word in ("start", "restart") or "session_buddy.server" in word for word in words)
    return "server" if is_server else "command"


class _Forked(subprocess.Popen[Any]):
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
            list(asked["args"][1:]),
            {**os.environ, **MEASURED} if asked["env"] is None else dict(asked["env"]),
            bool(asked["start_new_session"]),
            os.umask(0o77),
        )
        os.umask(request.umask)  # which can be read only by setting it
        with ExitStack() as stack:
            self._report, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            stack.enter_context(theirs)
            folder = os.open(asked["cwd"] or os.curdir, os.O_PATH | os.O_DIRECTORY)
            stack.callback(os.close, folder)
            files = [*streams, folder, theirs.fileno()]
            socket.send_fds(_control(_kind_of(request.words)), [json.dumps(request).encode()], files)
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


@functools.cache
def _control(kind: str) -> socket.socket:
    """Where to ask an interpreter to fork; it ends with the process that started it.

    With a request go the child's files: its three streams, its folder, where it is reported.
    """
    control, theirs = _socketpair()
    environ = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    environ |= _OF_A_SERVER | MEASURED
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-P", __file__, str(theirs.fileno()), kind],
            env=environ,
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
        )
    atexit.register(process.wait)  # called last
    atexit.register(control.close)
    return control


def _socketpair() -> tuple[socket.socket, socket.socket]:
    control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    # Longer than any environment: a request is one datagram, and so whole, whoever asks at the same time.
    control.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _LONGEST)
    return control, theirs


# --- what the interpreter runs


class Request(NamedTuple):
    """What a child is to be."""

    words: list[str]  # behind Python's own name
    environ: dict[str, str]
    has_own_session: bool
    umask: int


def load(kind: Kind) -> None:
    """Load everything that a command loads, now or later."""
    for name in kind.libraries:
        importlib.import_module(name)
    with measured():
        for package in map(importlib.import_module, kind.packages):
            for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
                if not module.name.startswith(kind.left_out):
                    importlib.import_module(module.name)
    for name in kind.late:
        with suppress(ModuleNotFoundError):
            importlib.import_module(name)
    assert len(list(Path("/proc/self/task").iterdir())) == 1, "a thread would be missing in each child"
    # Each child would look through all of this for garbage when it ends, and so copy it: half a second.
    gc.collect()
    gc.freeze()


@contextmanager
def measured() -> Iterator[None]:
    """Have coverage measure what runs here, if it measures at all.

    It is loaded either way, with what the settings have it measure, too: that is a tenth of a second for each
    child.
    """
    import multiprocessing.spawn  # noqa: F401

    import coverage

    # Each child asks for the same paths, 27 times: two thirds of what it takes to begin.
    sysconfig.get_paths = functools.cache(sysconfig.get_paths)  # type: ignore[assignment]  # the same, kept
    measuring = coverage.process_startup(force=True)
    yield
    if measuring:
        measuring.stop()
        measuring.save()
        atexit.unregister(measuring._atexit)  # children would do it once more


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
    os.umask(request.umask)
    *streams, folder = files
    os.fchdir(folder)
    for number, file in enumerate(streams):
        os.dup2(file, number)
    for file in files:
        os.close(file)
    if request.has_own_session:
        os.setsid()
        if os.isatty(0):
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    _OF_THE_RUN.update(request.environ)
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
        # Not what it starts.
        del os.environ["COVERAGE_PROCESS_CONFIG"]


def start_forked(request: Request) -> Request | None:
    """Have the servers that a command starts forked, too: by a child of it that is as it is now.

    Returns:
        What this process is to be: the command, a server that it starts, or nothing any more.
    """
    control, theirs = _socketpair()
    if os.fork():
        theirs.close()
        _control.cache_clear()
        globals()["_control"] = lambda _kind: control
        ordinary, measured = subprocess.Popen, MEASURED.keys() & request.environ.keys()

        def popen(command: Sequence[str], **options: Any) -> "subprocess.Popen[Any]":
            if not can_fork(command, options.get("env")):
                return ordinary(command, **options)
            environ = dict(options.pop("env", None) or os.environ)
            return _Forked(command, env=environ | {name: MEASURED[name] for name in measured}, **options)

        subprocess.Popen = popen  # type: ignore[assignment,misc]  # for what this command starts
        return request
    control.close()
    if MEASURED.keys() & request.environ.keys():
        import coverage

        # What the command does is measured in the command.
        measuring = coverage.Coverage.current()
        assert measuring
        measuring.stop()
        atexit.unregister(measuring._atexit)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(nothing, stream)
    os.close(nothing)
    return fork_on_request(theirs)


def say_no_more() -> None:
    """What DuckDB's binding says of the objects that :func:`load` keeps is for its authors.

    It comes after everything that Python does at an exit.
    """
    with suppress(OSError, ValueError):
        sys.stderr.flush()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def start(words: list[str]) -> None:
    """Run a module or some code as Python does that is started with these words."""
    is_safe = words[0] == "-P"
    option, what, *arguments = words[is_safe:]
    if not is_safe:
        sys.path.insert(0, "" if option == "-c" else str(Path.cwd()))
    if option == "-m":
        sys.argv = [what, *arguments]
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
        sys.argv = [option, *arguments]
        sys.modules["__main__"] = main = ModuleType("__main__")
        exec(compile(what, "<string>", "exec"), vars(main))  # noqa: S102 - as Python does


def code_of(words: list[str]) -> int:
    """Run what was asked for; its exit code, as Python makes it of what was raised."""
    try:
        start(words)
    except SystemExit as left:
        if left.code is None or isinstance(left.code, int):
            return left.code or 0
        sys.stderr.write(f"{left.code}\n")
        return 1
    except BaseException:  # noqa: BLE001 - as Python does
        sys.excepthook(*sys.exc_info())
        return 1
    return 0


def end(code: int) -> NoReturn:
    """End as an interpreter does, but for one thing: its modules are not taken apart, which takes 40 ms."""
    threading._shutdown()  # type: ignore[attr-defined]  # Python's own
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        code = 120  # as Python has it
    with suppress(OSError, ValueError):
        sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    atexit.register(say_no_more)  # the first to be registered is called last
    # Ctrl-C at the terminal is for those who run the tests; children get what it is by default.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    load(_KINDS[sys.argv[2]])
    # A child has left the loop before it begins, and so ends where the interpreter ends.
    child = fork_on_request(socket.socket(fileno=int(sys.argv[1])))
    if child and not {"--background", "restart", "stdio"}.isdisjoint(child.words):
        child = start_forked(child)
    if child and "session_buddy" in child.words[1:3]:
        end(code_of(child.words))
    elif child:
        start(child.words)
