"""Magic commands of the Mahavishnu shell."""

# ruff: noqa: T201 - what a magic command has to say, it prints
import shlex
from datetime import UTC, datetime

from IPython.core.magic import line_magic, magics_class

from oneiric.contract import start_time_of
from oneiric.shell import AdminShell
from oneiric.shell.commands import find_program
from oneiric.shell.dispatch import run
from oneiric.shell.magics import BaseMagics, print_pairs

_DEFAULT_ROWS = 10


@magics_class
class MahavishnuMagics(BaseMagics):
    """``%session`` and ``%sessions``."""

    admin: AdminShell | None

    @line_magic
    def session(self, line: str) -> None:  # noqa: ARG002 - IPython passes it
        """Show this session: its id, since when, how it is tracked, what happened in it."""
        if self.admin is None or self.admin.session_id is None:
            print("This shell has no session.", self.admin.tracking_status() if self.admin else "")
            return
        started = start_time_of(self.admin.session_id)
        running = str(datetime.now(UTC) - started).partition(".")[0]
        print_pairs(
            {
                "Session": self.admin.session_id,
                "Since": f"{started.astimezone():%Y-%m-%d %H:%M:%S %Z} ({running})",
                "Tracking": self.admin.tracking_status(),
                "Commands": str(self.admin.activity["commands"]),
                "Errors": str(self.admin.activity["errors"]),
                "Reason": self.admin.config.session_reason or "-",
            }
        )

    @line_magic
    def sessions(self, line: str) -> None:
        """Show the newest sessions of all shells: %sessions 20."""
        wanted = line.strip() or str(_DEFAULT_ROWS)
        if not wanted.isdecimal() or int(wanted) == 0:
            print(f"%sessions: {wanted!r} is no number of sessions; try %sessions {_DEFAULT_ROWS}")
            return
        # The command, not the tool behind it: it also reads the history where no server runs.
        run(shlex.join([find_program("session-buddy"), "list-sessions", "--limit", wanted]))
