"""The end-to-end test plan, typed line by line into real terminals.

The test suite asserts what this finds, and ``e2e_report.py`` writes it down. Only the ``cd`` lines of the
plan are left out, and its port is one that is free.
"""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeAlias

import pexpect

from tests.world import PATIENCE, World, hang_up

Check: TypeAlias = Callable[[str], bool]

RULE = "━" * 50
SECRET = "export SESSION_BUDDY_SECRET=\"$(python -c 'import secrets; print(secrets.token_urlsafe(32))')\""
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07]*\x07|\x1b[=>()][0B]?|\r")
_PROMPT = re.compile(r"\[done (\d+)\] ")


@dataclass(frozen=True)
class Step:
    """One line of the plan, and what came of it."""

    phase: str
    title: str
    command: str
    expected: str
    seen: str
    seconds: float
    passed: bool


@dataclass
class Findings:
    """What a run of the plan found."""

    steps: list[Step] = field(default_factory=list)

    def of(self, phase: str) -> list[Step]:
        """The steps of one phase."""
        return [step for step in self.steps if step.phase == phase]

    @property
    def failed(self) -> list[Step]:
        """What did not give what the plan expects."""
        return [step for step in self.steps if not step.passed]


class Terminal:
    """A person's bash."""

    def __init__(self, world: World) -> None:
        self.child = pexpect.spawn(
            "bash",
            ["--norc", "--noprofile", "--noediting"],
            env={**world.environ, "PS1": "[done $?] "},
            cwd=str(world.checkout),
            encoding="utf-8",
            timeout=PATIENCE,
            dimensions=(60, 200),
        )
        self.child.expect(_PROMPT)

    def type(self, line: str) -> tuple[str, int]:
        """Type a line and wait for the prompt; returns what it printed, and its exit code."""
        self.child.sendline(line)
        self.child.expect(_PROMPT)
        return self.printed().partition("\n")[2].strip(), self.exit_code()

    def type_until(self, line: str, awaited: str) -> str:
        """Type a line and wait for a text; returns what came until then."""
        self.child.sendline(line)
        self.child.expect_exact(awaited)
        return plain((self.child.before or "") + awaited).partition("\n")[2]

    def printed(self) -> str:
        """What came before the latest awaited text."""
        return plain(self.child.before or "")

    def exit_code(self) -> int:
        """The exit code in the latest prompt."""
        assert isinstance(self.child.match, re.Match)
        return int(self.child.match.group(1))

    def close(self) -> None:
        """Hang up."""
        hang_up(self.child)


def plain(text: str) -> str:
    """``text`` without colours and carriage returns."""
    return _ESCAPES.sub("", text)


def has(*parts: str) -> Check:
    """Whether an output holds all of these."""
    return lambda output: all(part in output for part in parts)


class Plan:
    """One run of the plan.

    Args:
        world: the machine to run on.
        note: called with each step's title as it begins.
    """

    def __init__(self, world: World, note: Callable[[str], None] = lambda _title: None) -> None:
        self.world = world
        self.findings = Findings()
        self._note = note

    def run(self) -> Findings:
        """The four phases, in the plan's order."""
        with self._terminal() as server, self._terminal() as user:
            self.dependencies(user)
            self.server(server, user)
            session_id = self.shell(user)
            self.database(user, session_id)
            self.troubleshooting(user)
        return self.findings

    def dependencies(self, user: Terminal) -> None:
        """Phase 1."""
        phase = "Phase 1: Environment Setup"
        for name in ("session-buddy", "oneiric", "mahavishnu"):
            self.step(
                user, phase, f"{name} is installed", f"pip show {name}", has(f"Name: {name}", "Version: ")
            )
        self.step(user, phase, "The secret is set", SECRET + "; echo ${#SESSION_BUDDY_SECRET}", has("43"))

    def server(self, server: Terminal, user: Terminal) -> None:
        """Phase 2."""
        phase = "Phase 2: Session-Buddy MCP Server"
        server.type(SECRET)
        begun = time.monotonic()
        self._note("The server starts")
        seen = server.type_until("session-buddy mcp start", "session-buddy.log")
        self._found(
            phase,
            "The server starts, tools registered",
            "session-buddy mcp start",
            "starts; tools track_session_start, track_session_end; no errors",
            seen,
            time.monotonic() - begun,
            passed=has("track_session_start", "track_session_end")(seen) and "rror" not in seen,
        )
        self.step(
            user,
            phase,
            "Tools are registered, the database answers",
            "session-buddy mcp status",
            has("running", "track_session_start", "track_session_end", str(self.world.engine.url)),
        )

    def shell(self, user: Terminal) -> str:
        """Phase 3; returns the id of the shell's session."""
        phase = "Phase 3: Mahavishnu Shell Integration"
        command = "python -m mahavishnu shell"
        self._note("The Mahavishnu shell starts")
        begun = time.monotonic()
        user.child.sendline(command)
        user.child.expect("In ")
        banner = user.printed().partition("\n")[2].strip()
        self._found(
            phase,
            "Shell starts, banner shows the tracking status",
            command,
            "banner of the plan; Session Tracking: ✓ Enabled",
            banner,
            time.monotonic() - begun,
            passed=is_the_banner(banner),
        )
        with self._terminal() as other:
            seen = self.step(
                other,
                phase,
                "The start event was emitted: the session is active",
                "session-buddy list-sessions | head -1",
                has("mahavishnu", "active"),
            )
        begun = time.monotonic()
        user.child.sendline("exit()")
        user.child.expect(_PROMPT)
        left = user.printed().rpartition("exit()")[2].strip()
        self._found(
            phase,
            "exit() leaves the shell",
            "exit()",
            "exit code 0, nothing printed",
            left,
            time.monotonic() - begun,
            passed=user.exit_code() == 0 and "Traceback" not in left,
        )
        return seen.split()[0] if seen else "none"

    def database(self, user: Terminal, session_id: str) -> None:
        """Phase 4."""
        phase = "Phase 4: Database Verification"
        self.step(
            user,
            phase,
            "The session is listed, newest first",
            "session-buddy list-sessions --type admin_shell",
            has(session_id, "mahavishnu", "ended"),
        )
        self.step(
            user,
            phase,
            "The newest id, as a script reads it",
            "session-buddy list-sessions | head -1 | awk '{print $1}'",
            lambda output: output == session_id,
        )
        self.step(
            user,
            phase,
            "Its details: metadata, duration",
            f"session-buddy show-session {session_id}",
            is_the_session(session_id),
        )

    def troubleshooting(self, user: Terminal) -> None:
        """The commands of the plan's troubleshooting section, on the running system."""
        phase = "Troubleshooting"
        port = self.world.port
        for title, command, check in (
            ("Who has the port", f"lsof -i :{port}", has("LISTEN")),
            ("The server's settings", "cat settings/session-buddy.yaml", has("port")),
            ("The server's status", "session-buddy mcp status", has("running")),
            ("The shell's settings", "cat settings/mahavishnu.yaml | grep session", has("session")),
            ("A real call and a database read", "session-buddy mcp health", has("Healthy")),
            ("The sessions", "session-buddy list-sessions", has("mahavishnu")),
            ("The log holds no error", "grep -ci error logs/session-buddy.log", lambda output: output == "0"),
        ):
            self.step(user, phase, title, command, check)
        begun = time.monotonic()
        seen = user.type_until("tail -f logs/session-buddy.log", "started")
        user.child.sendintr()
        user.child.expect(_PROMPT)
        passed = "started" in seen
        self._found(
            phase,
            "The log, followed",
            "tail -f logs/session-buddy.log",
            "lines",
            seen,
            time.monotonic() - begun,
            passed=passed,
        )

    def step(self, terminal: Terminal, phase: str, title: str, command: str, check: Check) -> str:
        """Type one command and check what it printed."""
        self._note(title)
        begun = time.monotonic()
        seen, _code = terminal.type(command)
        self._found(phase, title, command, title, seen, time.monotonic() - begun, passed=check(seen))
        return seen

    def _found(
        self, phase: str, title: str, command: str, expected: str, seen: str, seconds: float, *, passed: bool
    ) -> None:
        self.findings.steps.append(Step(phase, title, command, expected, seen, seconds, passed))

    @contextmanager
    def _terminal(self) -> Iterator[Terminal]:
        terminal = Terminal(self.world)
        try:
            yield terminal
        finally:
            terminal.close()


def is_the_banner(output: str) -> bool:
    """Whether these are the plan's lines, with the commands counted."""
    lines = [line.strip() for line in output.splitlines()]
    return (
        lines[0].startswith("Mahavishnu v")
        and lines[0].endswith("- Admin Shell")
        and lines[1] == lines[-1] == RULE
        and "Adapters: prefect, llamaindex, agno" in lines
        and any(re.fullmatch(r"CLI Commands: Enabled \(\d+ commands\)", line) for line in lines)
        and "Tab Completion: Enabled" in lines
        and "Session Tracking: ✓ Enabled" in lines
    )


def is_the_session(session_id: str) -> Check:
    """Whether an output shows the plan's details of a session."""

    def check(output: str) -> bool:
        values = ("mahavishnu", "admin_shell", session_id, "adapters", "version")
        fields = (
            "session_id",
            "component",
            "session_type",
            "start_time",
            "end_time",
            "duration_seconds",
            "metadata",
        )
        return all(part in output for part in fields + values)

    return check
