"""The command ``session-buddy``: each command parses, makes one call and prints."""

import os
import sys
from typing import Annotated

import typer

from session_buddy.cli import (
    analytics,
    backup,
    clients,
    config,
    dashboard,
    delete,
    doctor,
    edge,
    end,
    export,
    follow,
    mcp,
    migrate,
    replay,
    sessions,
    tab,
    token,
)
from session_buddy.cli.wording import App, Commands
from session_buddy.host.variables import require_known

__all__ = ["app", "main"]

app = App(
    name="session-buddy",
    cls=Commands,
    help="The history of admin shell sessions: who is in which shell, since when, and how it ended.",
    epilog="""\b
Examples:
  session-buddy list-sessions                     who was where, newest first
  session-buddy who                               who is in a shell now
  session-buddy show-session 1b9d6bcd             one session, every field
  session-buddy mcp start                         the server, in the foreground""",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
mcp.app.command("config", epilog=clients.EXAMPLES)(clients.config)
app.add_typer(mcp.app)
app.add_typer(backup.app)
app.add_typer(token.app)
app.add_typer(config.app)
app.command("list-sessions", help=sessions.LIST_HELP, epilog=sessions.LIST_EXAMPLES)(sessions.list_sessions)
app.command("who", help=sessions.WHO_HELP, epilog=sessions.WHO_EXAMPLES)(sessions.who)
app.command("follow", help=follow.HELP, epilog=follow.EXAMPLES)(follow.follow)
app.command("analytics", help=analytics.HELP, epilog=analytics.EXAMPLES)(analytics.analytics)
app.command("dashboard", epilog=dashboard.EXAMPLES)(dashboard.dashboard)
app.command("show-session", epilog=sessions.SHOW_EXAMPLES)(sessions.show_session)
app.command("export", help=export.HELP, epilog=export.EXAMPLES)(export.export)
app.command("end-session", epilog=end.EXAMPLES)(end.end_session)
app.command("prune", epilog=delete.PRUNE_EXAMPLES)(delete.prune)
app.command("forget", epilog=delete.FORGET_EXAMPLES)(delete.forget)
app.command("migrate", epilog=migrate.EXAMPLES)(migrate.migrate)
app.command("replay", epilog=replay.EXAMPLES)(replay.replay)
app.command("doctor", help=doctor.HELP, epilog=doctor.EXAMPLES)(doctor.doctor)


def main() -> None:
    """Run the command line; known errors are one line and an exit code."""
    if tab.answered(app, os.environ):
        return
    try:
        edge.run(app)
    finally:
        if "--install-completion" in sys.argv:
            tab.mend_zsh()


def _print_version(wanted: bool) -> None:  # noqa: FBT001 - typer calls it with the flag
    if wanted:
        from importlib.metadata import version  # 20 ms that only this needs

        typer.echo(f"session-buddy {version('session-buddy')}")
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    *,
    version: Annotated[  # noqa: ARG001 - its callback has printed it
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and leave."),
    ] = False,
) -> None:
    if context.invoked_subcommand != "doctor":  # which says it among the rest
        require_known(os.environ)
