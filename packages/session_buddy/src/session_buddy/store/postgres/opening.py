"""Opening a database on a PostgreSQL server: ours, new or not at all."""

import logging
import secrets
import uuid
from contextlib import suppress
from typing import Final

from psycopg import Connection
from psycopg.errors import UndefinedColumn

from session_buddy.errors import NewerDatabase, NotADatabase, OlderDatabase
from session_buddy.host.database_url import DatabaseUrl
from session_buddy.store.postgres.schema import JUDGED_BEHIND, LATEST, MIGRATIONS
from session_buddy.store.postgres.statements import judge_anew
from session_buddy.store.upgrade import CHANGED

log = logging.getLogger("session_buddy.store")

# Any number that others are not likely to lock: "session buddy" in ASCII, its first eight letters.
_LOCK: Final = int.from_bytes(b"sessionb")


def bring_up_to_date(connection: Connection, url: DatabaseUrl, *, may_change: bool) -> bool:
    """Make the tables, or change them as later versions want; in one transaction, one server at a time.

    Returns:
        Whether they were made.

    Raises:
        NotADatabase: it holds something else, or cannot hold every text.
        NewerDatabase: a later version wrote it.
        OlderDatabase: an earlier version did, and it may not be changed.
    """
    (encoding,) = connection.execute("SHOW server_encoding").fetchone() or ("",)
    if encoding != "UTF8":
        raise NotADatabase(f"{url} has the encoding {encoding}; UTF8 is needed")
    seen = _schema_of(connection, url)
    if seen < LATEST and not may_change:
        raise OlderDatabase(str(url), seen, LATEST)
    if seen < LATEST:
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
        seen = _schema_of(connection, url)
    if 0 < seen < LATEST:
        log.warning(CHANGED, url, seen, LATEST)
    for number, statements in enumerate(MIGRATIONS[seen:], start=seen + 1):
        connection.execute(statements)
        if number == 1:
            insert = "INSERT INTO meta VALUES ('instance', %s), ('secret', %s), ('schema_version', '1')"
            connection.execute(insert, [str(uuid.uuid4()), secrets.token_urlsafe(48)])
        connection.execute("UPDATE meta SET value = %s WHERE key = 'schema_version'", [str(number)])
    if 0 < seen < JUDGED_BEHIND:
        judge_anew(connection)
    return seen == 0


def _schema_of(connection: Connection, url: DatabaseUrl) -> int:
    """The last migration that the database has seen, 0 if it is new."""
    # Not to_regclass: that remembers that there was none, though another server has made it meanwhile.
    tables = """
        SELECT EXISTS (SELECT FROM pg_class WHERE relname = name AND pg_table_is_visible(oid))
        FROM unnest(%s::text[]) AS name
    """
    names = ["tombstones", "meta", "sessions", "events"]
    # The first is of later versions.
    later, *ours = (there for (there,) in connection.execute(tables, [names]))
    if not later and not any(ours):
        return 0
    found = None
    with suppress(UndefinedColumn):
        query = "SELECT value::text FROM meta WHERE key = 'schema_version'"
        found = connection.execute(query).fetchone() if all(ours) else None
    version = found[0] if found else ""
    if not version.isdigit() or int(version) < 1:
        raise NotADatabase(f"{url} has tables of something else")
    if int(version) > LATEST:
        raise NewerDatabase(str(url), int(version), LATEST)
    return int(version)
