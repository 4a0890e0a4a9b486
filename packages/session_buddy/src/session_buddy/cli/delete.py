"""``prune`` and ``forget``: sessions deleted for good."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from session_buddy.cli import completion, edge, export, progress
from session_buddy.cli.text import local_time
from session_buddy.client import ask, deleting
from session_buddy.errors import InvalidQuery
from session_buddy.history.tombstones import YOUNGEST, Wanted, wanted_of
from session_buddy.history.words import count
from session_buddy.host.database_url import DatabaseUrl
from session_buddy.keep.backups import Backups

PRUNE_EXAMPLES: Final = """\b
Only what is over goes, also what was lost so long ago. Nothing that started before then, and is not known, is
taken in from then on: the sessions stay deleted, whatever is still delivered.

\b
Examples:
  session-buddy prune --older-than 365d --dry-run
  session-buddy prune --older-than 52w --yes --backups
  session-buddy config set delete_after 365d      a server does it by itself"""
FORGET_EXAMPLES: Final = """\b
Those that list-sessions user:NAME finds, whatever their age. Nothing more of
them is taken in; new sessions are.

\b
Examples:
  session-buddy list-sessions user:ada
  session-buddy forget --user ada --dry-run
  session-buddy forget --user ada --backups"""

DryRun = Annotated[bool, typer.Option("--dry-run", help="Say how many there are, delete nothing.")]
WithBackups = Annotated[
    bool, typer.Option("--backups", help="Put a new backup in the place of all that there are.")
]
ExportFirst = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Write them to a file before: .csv, .json, .parquet …"),
]
_UNTIL: Final = "what they held they hold until they rotate; --backups puts a new one in their place"


def prune(
    older_than: Annotated[
        str,
        typer.Option("--older-than", metavar="LENGTH", help="Since they ended, e.g. 365d; a day at least."),
    ],
    *,
    export_first: ExportFirst = None,
    dry_run: DryRun = False,
    backups: WithBackups = False,
    yes: edge.Yes = False,
) -> None:
    """Delete sessions that ended long ago."""
    from session_buddy.history.times import parse_duration

    try:
        age = timedelta(seconds=parse_duration("older-than", older_than))
        before = datetime.now(UTC) - age
    except OverflowError:
        raise InvalidQuery("older-than", older_than, "a time that the calendar has") from None
    if age < YOUNGEST:
        raise InvalidQuery("older-than", older_than, "a day is the least")
    wanted, which = wanted_of(None, before), f"that ended before {local_time(before.isoformat())}"
    _delete(wanted, which, export_first, dry_run=dry_run, backups=backups, yes=yes, force=False)


def forget(
    user: Annotated[
        str,
        typer.Option(
            "--user",
            metavar="NAME",
            help="A person or an account, exactly.",
            autocompletion=completion.values_of("user"),
        ),
    ],
    *,
    force: Annotated[bool, typer.Option("--force", help="Also those that are active.")] = False,
    export_first: ExportFirst = None,
    dry_run: DryRun = False,
    backups: WithBackups = False,
    yes: edge.Yes = False,
) -> None:
    """Delete all sessions of a person or an account."""
    name = ask.typed(user)
    wanted, which = wanted_of(name, None), f"of {name!r}"
    _delete(wanted, which, export_first, dry_run=dry_run, backups=backups, yes=yes, force=force)


def _delete(
    wanted: Wanted,
    which: str,
    first_to: Path | None,
    *,
    dry_run: bool,
    backups: bool,
    yes: bool,
    force: bool,
) -> None:
    if first_to is not None:
        edge.require_free(first_to, "export-first")
        export.form_of(first_to)
    found = deleting.look(wanted, force=force)
    many = count(found["sessions"], "session")
    if not found["sessions"]:
        edge.tell(f"No sessions {which}.")
    elif dry_run:
        edge.say(f"{many} {which} would be deleted, {_span(found)}")
    else:
        edge.agree(f"Delete {many} {which}, {_span(found)}, for good?", yes=yes)
        exported = first_to and export.write(first_to, str(wanted.query(datetime.now(UTC))))
        done = _deleted(wanted, found["sessions"], force=force)
        if exported is not None and done["deleted"] > exported:
            more = count(done["deleted"] - exported, "session")
            edge.tell(f"{more} of them ended while the file was written, and are not in it")
        edge.say(f"Deleted {count(done['deleted'], 'session')} {which}")
        if done["held"]:
            edge.tell(f"Journals of shells that are open go a week after these are left: {done['held']:,}")
    if not dry_run and (backups or found["sessions"]):
        _look_after_copies(replace=backups)


def _deleted(wanted: Wanted, total: int, *, force: bool) -> dict[str, Any]:
    gone = progress.Counter()
    try:
        with progress.shown("Deleting", gone, lambda: total):
            return deleting.delete(wanted, gone.add, force=force)
    except KeyboardInterrupt:
        edge.tell(f"Of {count(total, 'session')}, {gone.done:,} are deleted; the same command goes on.")
        raise


def _span(found: Mapping[str, Any]) -> str:
    first, last = local_time(found["oldest"]), local_time(found["newest"])
    return f"started from {first} to {last}" if first != last else f"started {first}"


def _look_after_copies(*, replace: bool) -> None:
    """Replace the backups, or say that they still have what was deleted; likewise of other copies."""
    database = _database()
    if database is not None and database.file is None:
        edge.tell(f"Backups of {database} are its administrators' to remove; they hold what they held.")
    elif replace:
        with progress.shown("Backing up"):
            made = deleting.replace_backups()
        edge.say(f"Backup {made}, in the place of all before it")
    elif database is None:
        edge.tell(f"Backups of that server: {_UNTIL}")
    elif listed := Backups.of(database).listed():
        edge.tell(f"{count(len(listed), 'backup')} in {listed[0].path.parent}: {_UNTIL}")
    for path in _set_aside(database.file) if database is not None and database.file else ():
        edge.tell(f"{path} was set aside, and holds what it held; remove it when you need it no more")


def _database() -> DatabaseUrl | None:
    """The one in which it was done; ``None``: that of a server that the environment names."""
    if ask.named_server() is not None:
        return None
    if server := ask.local_server():
        return DatabaseUrl.parse(server.database)
    from session_buddy.host.layers import load_settings

    return load_settings().database_url()


def _set_aside(database: Path) -> list[Path]:
    """What restores, and logs that could not be replayed, left beside a database."""
    return sorted(path for path in database.parent.glob(f"{database.name}*.*T*Z") if path.is_file())
