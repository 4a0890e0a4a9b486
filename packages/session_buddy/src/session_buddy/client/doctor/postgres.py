"""What to type where a database on a PostgreSQL server cannot be used."""

from shlex import quote
from typing import Final
from urllib.parse import urlsplit

from session_buddy.client.doctor.finding import at
from session_buddy.host.database_url import DatabaseUrl

_NO_DATABASE: Final = ("database", "does not exist")
_NOT_KNOWN: Final = ("failed to resolve host", "could not translate host name")
_NOT_LET_IN: Final = ("authentication failed", "no password supplied", "pg_hba.conf", 'role "')


def mended(url: DatabaseUrl, why: str) -> str:
    """What to type, by what the driver said; empty where a file has the history."""
    if url.file is not None:
        return ""
    host, port, name = _place(url)
    # Before it stands the URL, which may have any word in it.
    why = why.partition("cannot be")[2] or why
    if any(text in why for text in _NOT_LET_IN):
        return (
            f"psql -d {quote(url.shown)} -c 'SELECT 1'  # and correct the user or the password of storage_url"
        )
    if all(text in why for text in _NO_DATABASE) and name:
        return f"createdb{f' -h {quote(host)}' if host else ''}{f' -p {port}' if port else ''} {quote(name)}"
    if host and any(text in why for text in _NOT_KNOWN):
        return f"getent hosts {quote(host)}  # and correct the host of storage_url"
    return f"{at(host)}sudo systemctl start postgresql"


def _place(url: DatabaseUrl) -> tuple[str, int | None, str]:
    """Host, port and name, as far as the URL is one that can be read so."""
    try:
        parts = urlsplit(url.shown)
        return parts.hostname or "", parts.port, parts.path.strip("/")
    except ValueError:
        return "", None, ""
