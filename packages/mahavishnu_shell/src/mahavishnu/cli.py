"""The command ``mahavishnu``."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from mahavishnu import __version__
from mahavishnu.errors import MahavishnuError
from oneiric.contract import MAX_REASON
from oneiric.paths import user_paths

app = typer.Typer(
    name="mahavishnu",
    help="The Mahavishnu admin shell: IPython with your commands, tracked.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Run the command line; a known error is one line and exit code 1."""
    try:
        app(prog_name="mahavishnu")
    except MahavishnuError as error:
        typer.echo(f"mahavishnu: {error}", err=True)
        sys.exit(1)


def _print_version(wanted: bool) -> None:  # noqa: FBT001 - typer calls it with the flag
    if wanted:
        typer.echo(f"mahavishnu {__version__}")
        raise typer.Exit


def _check_reason(reasons: list[str]) -> list[str]:
    if len(reasons) > 1:
        raise typer.BadParameter("it is given twice; give it once")
    if reasons and len(reasons[0]) > MAX_REASON:
        raise typer.BadParameter(f"{len(reasons[0])} characters; {MAX_REASON} are allowed")
    return reasons


@app.callback()
def _options(
    version: Annotated[  # noqa: FBT002 - a flag of the command line
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and leave."),
    ] = False,
) -> None:
    pass


@app.command()
def shell(
    reason: Annotated[  # a list, so that a second one is not taken silently for the first
        list[str],
        typer.Option(
            callback=_check_reason,
            metavar="TEXT",
            help="Why: a ticket or a sentence, stored with the session.",
        ),
    ] = [],  # noqa: B006 - Typer's own default of a list
    no_tracking: Annotated[bool, typer.Option("--no-tracking", help="Report no session.")] = False,  # noqa: FBT002
) -> None:
    """Start the admin shell."""
    from mahavishnu import settings
    from mahavishnu.shell import MahavishnuShell

    flags = {("session", "enabled"): False} if no_tracking else {}
    found = settings.load(os.environ, Path(), user_paths().config, flags)
    for line in found.unknown:
        typer.echo(f"mahavishnu: {line}", err=True)
    MahavishnuShell(found, reason=reason[0] if reason else None).start()
