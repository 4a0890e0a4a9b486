"""``doctor``: what is wrong with this installation, and what to type against it."""

import shutil
import sys
from typing import Final, Literal

from oneiric.visible import visible
from session_buddy.cli import edge, render
from session_buddy.cli.sessions import FormatOption
from session_buddy.cli.text import hanging

HELP: Final = "Look for what is wrong, and say what to type against it."
EXAMPLES: Final = """\b
Nothing is changed: no journal is delivered, no database made. Exit code 1 if
something is broken. Piped: tab-separated rows without a header: state (ok,
warning, broken, skipped), check, what was found, what to type.

\b
Examples:
  session-buddy doctor
  session-buddy doctor --format json | jq -r '.[] | select(.fix != "") | .fix'"""
FIELDS: Final = ("state", "check", "found", "fix")
_MARKS: Final = {"ok": "✓ ok", "warning": "! warning", "broken": "✗ broken", "skipped": "! skipped"}
_INDENT: Final = 26


def doctor(form: FormatOption = None) -> None:
    """Look at everything; exit code 1 if something is broken."""
    from session_buddy.client.doctor import examine  # 0.4 s of settings

    is_broken = False
    with edge.output() as stream:
        if render.is_for_people(form, terminal=edge.on_terminal()):
            width = shutil.get_terminal_size().columns if edge.on_terminal() else 10_000
            for one in examine():
                is_broken |= one.state == "broken"
                stream.write(_line(one.state, one.check, one.found, one.fix, width))
                stream.flush()
        else:
            findings = list(examine())
            is_broken = any(one.state == "broken" for one in findings)
            records = [{name: getattr(one, name) for name in FIELDS} for one in findings]
            render.write_rows(records, form, stream, FIELDS)
    if is_broken:
        sys.exit(1)


def _line(
    state: Literal["ok", "warning", "broken", "skipped"], check: str, found: str, fix: str, width: int
) -> str:
    """A finding for people; what to type stands on a line of its own, whole, so that it can be copied."""
    text = "\n".join(hanging(visible(found), _INDENT, width))
    line = f"{_MARKS[state]:<11}{check:<{_INDENT - 11}}{text}\n"
    return line + (f"{'type:':>{_INDENT - 2}}  {visible(fix)}\n" if fix else "")
