"""``migrate``: a whole history, from one database to another."""

from contextlib import closing
from time import monotonic
from typing import Annotated, Final

import typer

from oneiric.paths import user_paths
from session_buddy.cli import edge, progress
from session_buddy.cli.backup import url_of
from session_buddy.errors import MigrationRefused
from session_buddy.host import process
from session_buddy.host.database_url import DatabaseUrl
from session_buddy.host.histories import same

EXAMPLES: Final = """\b
Examples:
  session-buddy mcp stop
  session-buddy migrate --from sessions.duckdb --to postgresql://buddy@db.example/history
  session-buddy mcp start --db postgresql://buddy@db.example/history"""


def migrate(
    source: Annotated[str, typer.Option("--from", metavar="DATABASE", help="A path, or a URL.")],
    target: Annotated[str, typer.Option("--to", metavar="DATABASE", help="The same; made if need be.")],
    *,
    merge: Annotated[bool, typer.Option("--merge", help="Add to the sessions that are there.")] = False,
) -> None:
    """Copy the history to another database.

    All of it, or nothing; what is written is read again and compared.
    """
    from session_buddy.client.offline import looked_at  # the databases' libraries
    from session_buddy.keep import migrate as keep
    from session_buddy.keep.losses import counted
    from session_buddy.store import open_store

    old, new = url_of(source), url_of(target)
    if same(old, new):
        raise MigrationRefused(f"--from and --to name one database, {old.name}")
    info = process.running(user_paths())
    if info is not None and any(same(DatabaseUrl.parse(info.database), url) for url in (old, new)):
        raise MigrationRefused(f"the server keeps {info.database}; stop it first: session-buddy mcp stop")
    began = monotonic()
    with looked_at(old) as there, closing(open_store(new)) as here:
        rows, steps = progress.Counter(), keep.steps(there)
        with progress.shown("Sessions and events", rows, lambda: steps):
            moved = (keep.merge if merge else keep.migrate)(there, here, rows.add)
    edge.say(
        f"{counted(moved.sessions.rows)} and {moved.events.rows:,} events of {old.name}"
        f" are in {new.name}, in {monotonic() - began:.1f} s; checksum {moved.sessions} {moved.events}"
    )
    if moved.refused:
        why = next(iter(moved.refused.values()))
        edge.tell(
            f"{counted(len(moved.refused))} of {old.name} are refused there, and stay as they are: {why}"
        )
