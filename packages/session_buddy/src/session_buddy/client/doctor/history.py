"""Checks of the history: its database, its backups, and the clock."""

import os
import socket
from contextlib import closing
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from shlex import quote
from typing import Final
from urllib.parse import urlsplit

from oneiric.config import named_url
from oneiric.transport import TransportError, call_tool
from session_buddy.client.doctor import logged
from session_buddy.client.doctor.finding import Began, Case, Finding, at
from session_buddy.client.doctor.postgres import mended
from session_buddy.errors import (
    RESTORE,
    NewerDatabase,
    NotADatabase,
    OlderDatabase,
    SessionBuddyError,
    StoreLocked,
)
from session_buddy.host.database_url import DatabaseUrl
from session_buddy.host.histories import databases, is_own, own, same
from session_buddy.keep.backups import Backups

_LATEST: Final = 200
_SKEW_SECONDS: Final = 60.0
_TIME: Final = "%Y-%m-%d %H:%M:%S"
_START: Final = "session-buddy mcp start --background"
_OLDER: Final = ": its tables are of an earlier version; a server brings them up to date"
_SET_CLOCK: Final = "sudo timedatectl set-ntp true"
_RESTORE: Final = "session-buddy backup restore latest"


def database(case: Case) -> Finding:  # noqa: PLR0911 - one a finding
    """There, openable, of which version, whose; nothing is made, and nothing in it changes."""
    url = case.url
    if url is None:
        return Finding("skipped", "which one it is cannot be told, see settings")
    if case.server and same(url, DatabaseUrl.parse(case.server.database)):
        size = f", {url.file.stat().st_size:,} bytes" if url.file else ""
        if "server" in case.broken:
            return Finding("skipped", f"{url.name}{size}: the server that keeps it is broken, see server")
        return Finding("ok", f"{url.name}{size}; the server keeps it")
    if "folders" in case.broken:
        return Finding("skipped", f"{url.name}: see folders")
    if url.file is not None and not url.file.exists():
        return _missing(case, url, url.file)
    found = _opened(case, url)
    if found.state != "broken" and case.server is None and not is_own(url, case.paths):
        said = f"{found.found}; it is only looked at: your own history is {own(case.paths).name}"
        return Finding("broken", said, "session-buddy mcp restart")
    return found


def _opened(case: Case, url: DatabaseUrl) -> Finding:
    """What is found in a database that no server keeps."""
    try:
        return _looked_at(case, url)
    except StoreLocked as error:
        return Finding("warning", str(error), "session-buddy doctor  # once more")
    except NewerDatabase as error:
        return Finding("broken", str(error), "pip install --upgrade session-buddy")
    except OlderDatabase as error:
        if not error.found:
            return Finding("ok", f"{url.name} holds no history yet; a server makes its tables")
        return Finding("warning", f"{url.name}, schema {error.found}{_OLDER}", _START)
    except SessionBuddyError as error:
        return Finding("broken", _fact(error), mended(url, str(error)) or _instead(case, url.file))


def _missing(case: Case, url: DatabaseUrl, file: Path) -> Finding:
    if url not in databases(case.paths):
        return Finding("ok", f"{file} is not there yet; it is made at the first use")
    said = f"{file} was here before and is gone"
    return Finding("broken", said, _RESTORE if _last(file, case.now) else "session-buddy replay")


def _instead(case: Case, file: Path | None) -> str:
    """How to go on with a history whose database file cannot be used."""
    if file is None:
        return ""
    if not os.access(file, os.R_OK | os.W_OK):
        return f"chmod u+rw {quote(str(file))}"
    if _last(file, case.now):
        return _RESTORE
    return f"mv {quote(str(file))} {quote(f'{file}.{case.now:%Y%m%d-%H%M%S}')} && session-buddy replay"


def _fact(error: SessionBuddyError) -> str:
    """What is wrong, without what to do about it: that is told by itself."""
    return error.fact if isinstance(error, NotADatabase) else str(error).partition(f"; {RESTORE}")[0]


def _last(file: Path, now: datetime) -> datetime | None:
    last = Backups(file).last(now)
    return last.made_at if last else None


def _looked_at(case: Case, url: DatabaseUrl) -> Finding:
    if url.file is None:
        from session_buddy.store import open_store

        with closing(open_store(url, only_look=True)):
            return Finding("ok", f"{url.name} can be read")
    from session_buddy.store.duckdb.copies import look

    found, size = look(url.file), url.file.stat().st_size
    case.newest = Began(*found.newest) if found.newest else None
    said = f"{url.name}, {size:,} bytes, {found.sessions:,} sessions, schema {found.schema}"
    if found.is_older:
        return Finding("warning", said + _OLDER, _START)
    lacks = f"; {found.gap.reason}: what it lacks is looked for at the next use" if found.gap else ""
    return Finding("ok", said + lacks)


def backups(case: Case) -> Finding:
    """The newest, and whether one is overdue."""
    if case.url is None or case.settings is None:
        return Finding("skipped", "where they lie cannot be told, see settings")
    if case.file is None:
        return Finding("ok", "a database server's own matter")
    try:
        last = _last(case.file, case.now)
    except SessionBuddyError as error:
        return Finding("broken", str(error), f"chmod u+rwx {quote(str(case.file.parent / 'backups'))}")
    every = timedelta(hours=case.settings.backup.every_hours)
    said = f"the newest is of {last:%Y-%m-%d %H:%M} UTC" if last else "none so far"
    why = case.server and case.health and logged.backup_failed(Path(case.server.log))
    if why:
        return Finding("warning", f"{said}; the latest attempt failed: {why}", "session-buddy backup create")
    up = timedelta(seconds=float(case.health["uptime_seconds"])) if case.health else timedelta()
    if every and up > every and (last is None or case.now - last > 2 * every):
        return Finding("warning", f"{said}; one is due every {every}", "session-buddy backup create")
    return Finding("ok", said)


def clock(case: Case) -> Finding:
    """Whether the wall clock agrees with the named server's, and with the session that began last."""
    address = named_url(os.environ)
    if address and "named server" not in case.broken:
        ahead = _ahead_of(address, case.seconds)
        if ahead is not None and abs(ahead) > _SKEW_SECONDS:
            said = f"it differs from that of the named server by {ahead:+.0f} s"
            return Finding("broken", said, _SET_CLOCK)
    newest = case.newest
    if case.server and case.health:
        # One that says it starts later than it came in is listed where it came in.
        asked = {"limit": _LATEST, "fields": list(Began._fields)}
        try:
            rows = call_tool(case.server.endpoint, "list_sessions", asked, case.seconds)["sessions"]
            began = [
                Began(**{**row, "start_time": datetime.fromisoformat(row["start_time"])}) for row in rows
            ]
        except (TransportError, KeyError, TypeError, ValueError) as error:
            return Finding("skipped", f"the newest session cannot be asked for: {error}")
        newest = max(began, key=lambda one: one.start_time, default=None)
    now = datetime.now(UTC)
    if newest and newest.start_time > now + timedelta(seconds=_SKEW_SECONDS):
        return _of_days_to_come(newest, now)
    known = (
        f"the newest session began at {newest.start_time:{_TIME}}" if newest else "no session to compare with"
    )
    return Finding("ok", f"{now:{_TIME}} UTC; {known}")


def _of_days_to_come(newest: Began, now: datetime) -> Finding:
    """A session of a clock that was ahead, or that was seen by one that is behind: its row stays as it is."""
    there = newest.hostname if newest.hostname != socket.gethostname() else None
    said = (
        f"{newest.session_id} starts in the future, at {newest.start_time:{_TIME}} UTC (now {now:{_TIME}}): "
        f"the clock {f'of {there}, or this one,' if there else 'here'} is wrong, or was. Lists have it where "
        "it came in; where the clock is right by now there is nothing to do, and this line ends at that time"
    )
    return Finding("warning", said, f"{at(there)}{_SET_CLOCK}")


def _ahead_of(address: str, seconds: float) -> float | None:
    """By how many seconds our clock is ahead of a server's; ``None`` if it does not say."""
    parts = urlsplit(address)
    kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    try:
        with closing(kind(parts.hostname or "", parts.port, timeout=seconds / 2)) as connection:
            connection.request("GET", "/health")
            theirs = connection.getresponse().headers.get("Date", "")
        return datetime.now(UTC).timestamp() - parsedate_to_datetime(theirs).timestamp()
    except (OSError, HTTPException, ValueError, TypeError):
        return None
