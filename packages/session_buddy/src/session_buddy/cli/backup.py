"""``backup create|list|restore``: copies of the history, and the way back to one."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from oneiric.paths import user_paths
from session_buddy.cli import edge, facts, progress, render
from session_buddy.cli.mcp import Database
from session_buddy.cli.sessions import FormatOption
from session_buddy.cli.text import local_time
from session_buddy.cli.wording import App
from session_buddy.client import api, ask
from session_buddy.errors import SessionBuddyError
from session_buddy.host import process
from session_buddy.host.database_url import DatabaseUrl
from session_buddy.host.server_file import ServerInfo
from session_buddy.keep.backups import LATEST, Backup, Backups

if TYPE_CHECKING:
    from session_buddy.keep.restore import Restored

_LOCAL_ONLY: Final = "this command knows the local database only"
FIELDS: Final = ("name", "made_at", "bytes", "path")

app = App(name="backup", help="Backups of the history: make, list, go back to one.", no_args_is_help=True)

_CREATE_EXAMPLES: Final = """\b
Examples:
  session-buddy backup create
  cp "$(session-buddy backup list | head -1 | cut -f4)" /mnt/elsewhere/"""

_LIST_EXAMPLES: Final = """\b
Piped: tab-separated rows, newest first, without a header: name, time, bytes, path.

\b
Examples:
  session-buddy backup list
  session-buddy backup list --format json"""

_RESTORE_EXAMPLES: Final = """\b
Examples:
  session-buddy mcp stop && session-buddy backup restore latest
  session-buddy backup restore sessions-20260102-030405Z.duckdb
  session-buddy backup restore /mnt/elsewhere/sessions-20260102-030405Z.duckdb"""


@app.command(epilog=_CREATE_EXAMPLES)
def create(db: Database = None) -> None:
    """Make a backup now, with a server running or not."""
    facts.tell_named(_LOCAL_ONLY)
    named = None if db is None else url_of(db)
    with progress.shown("Backing up"):
        path = ask.ask_or_open(_at_server, lambda: _make(db), named)
    edge.say(f"Backup {path}")


def _at_server(server: ServerInfo) -> str:
    process.require_answer(server)
    return api.back_up(server.endpoint)


@app.command("list", epilog=_LIST_EXAMPLES)
def list_backups(form: FormatOption = None, db: Database = None) -> None:
    """List the backups, newest first."""
    facts.tell_named(_LOCAL_ONLY)
    backups = _backups(db)
    rows = [_row(backup) for backup in backups.listed()]
    if not rows and db is not None and not backups.database.exists():
        edge.fail(f"database {backups.database} is not there, nor a backup of it")
    if not rows and form is None and edge.on_terminal():
        edge.tell(f"No backups in {backups.folder}; `session-buddy backup create` makes one.")
        return
    with edge.output() as stream:
        if render.is_for_people(form, terminal=stream.isatty()):
            listed = [{**row, "made_at": local_time(row["made_at"])} for row in rows]
            stream.writelines(render.plain_table(listed, FIELDS))
        else:
            render.write_rows(rows, form, stream, FIELDS)


def _complete_name(ctx: typer.Context, incomplete: str) -> list[str]:
    try:
        names = [LATEST, *(backup.name for backup in _backups(ctx.params.get("db")).listed())]
    except SessionBuddyError:
        return []
    return [name for name in names if name.startswith(incomplete)]


@app.command(epilog=_RESTORE_EXAMPLES)
def restore(
    name: Annotated[
        str,
        typer.Argument(
            metavar="BACKUP",
            help="A name that `backup list` shows, latest, or the path of a copy, with a slash in it.",
            autocompletion=_complete_name,
        ),
    ],
    db: Database = None,
) -> None:
    """Put a backup in the database's place, with what the journals have on top.

    The present database is set aside. A server has to be stopped first. Which database it is, the
    settings say, or --db; where neither does, your own history.
    """
    from session_buddy.keep.restore import restore as put_back  # the database's library

    facts.tell_named(_LOCAL_ONLY)
    with progress.shown("Restoring"):
        done = put_back(url_of(db), name, user_paths(), datetime.now(UTC))
    edge.say(_in_words(done))


def _in_words(done: "Restored") -> str:
    from session_buddy.keep.losses import counted

    lines = [
        f"Restored {done.backup.name} into {done.database}: {counted(done.sessions)}.",
        f"From the journals, {counted(done.back)} came back on top of that.",
    ]
    if done.deleted:
        lines.append(f"{counted(done.deleted)} of the backup had been deleted since; that is done here, too.")
    if done.losses is not None:
        lines.append(f"Of the database before: {done.losses}.")
    if done.unknown:
        lines.append(f"What the database before held on top cannot be told: {done.unknown}.")
        lines.append("What had been deleted from it may be back: prune or forget it once more.")
    if done.aside is not None:
        lines.append(f"It is set aside as {done.aside}")
    return "\n".join(lines)


def _row(backup: Backup) -> dict[str, Any]:
    return {
        "name": backup.name,
        "made_at": backup.made_at.isoformat(),
        "bytes": backup.size,
        "path": str(backup.path),
    }


def url_of(db: str | None) -> DatabaseUrl:
    """The database that an option names, else that of the settings."""
    from session_buddy.host.layers import load_settings  # 0.3 s

    return load_settings(db=db).database_url()


def _backups(db: str | None) -> Backups:
    return Backups.of(url_of(db))


def _make(db: str | None) -> str:
    from session_buddy.client.offline import opened  # the database's library
    from session_buddy.host.layers import load_settings
    from session_buddy.store import as_file

    now, settings = datetime.now(UTC), load_settings(db=db)
    backups = Backups.of(settings.database_url())
    with opened(settings, now) as store:
        return str(backups.make(as_file(store).backup, now, settings.backup.keep).path)
