"""Which database holds a history: as its URL says, and as it is shown, which is never with a secret."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self
from urllib.parse import unquote

from session_buddy.errors import ConfigurationError

# Of what may stand behind the question mark of a server's URL.
_SECRET: Final = re.compile("password|secret|_key=|:")
_HOST: Final = r"(?:\[[^\]]*\]|[^:/?#,@\[\]]*)(?::\d*)?"
# As the driver reads it: who stands before the first @, unless a / comes earlier.
_SERVER: Final = re.compile(
    rf"(?:([^:@/]*)(:[^@/]*)?(@))?({_HOST}(?:,{_HOST})*(?:/[^?@&;=]*)?)(?:\?(.*))?", re.DOTALL
)
# How long a query may take.
DEFAULT_QUERY_SECONDS: Final = 10.0


@dataclass(frozen=True)
class DatabaseUrl:
    """Where a history lies; as text, and compared, without secrets.

    Attributes:
        shown: the URL as people may see it.
        file: the DuckDB file, ``None`` where a database server has the history.
        whole: the URL as it was given, for nobody but the driver.

    >>> print(DatabaseUrl.parse("postgresql://ada:s3cret@db.example/history?sslmode=require&password=x"))
    postgresql://ada@db.example/history?sslmode=require
    """

    shown: str
    file: Path | None = field(compare=False)
    whole: str = field(compare=False, repr=False)

    def __str__(self) -> str:
        return self.shown

    @property
    def name(self) -> str:
        """As people know it: a file by its path."""
        return str(self.file or self.shown)

    @classmethod
    def parse(cls, url: str) -> Self:
        """The database that a URL names.

        Raises:
            ConfigurationError: no store goes by it.
        """
        scheme, separator, rest = url.partition("://")
        if scheme == "duckdb" and rest[:1] == "/" and rest[1:]:
            return cls.of(Path(rest[1:]))
        if scheme in ("postgres", "postgresql") and separator:
            return cls(_without_secrets(rest), None, url)
        raise ConfigurationError(
            f"storage_url: {_harmless(url)} is not valid: duckdb:///path or postgresql://host/name is allowed"
        )

    @classmethod
    def of(cls, file: Path) -> Self:
        """That of a DuckDB file."""
        url = f"duckdb:///{file}"
        return cls(url, file, url)


def _without_secrets(rest: str) -> str:
    found = _SERVER.fullmatch(rest)
    if found is None:
        raise ConfigurationError(
            "storage_url: it cannot be read; postgresql://user:password@host:port/name is allowed, with"
            " @ / ? and # of a password written %40 %2F %3F and %23"
        )
    who, _, at, where, query = found.groups(default="")
    said = [part for part in query.split("&") if part and not _SECRET.search(unquote(part))]
    return f"postgresql://{who}{at}{where}{'?' + '&'.join(said) if said else ''}"


def _harmless(url: str) -> str:
    """What was given, where it can hold no secret; else what sort of URL it is."""
    return repr(url) if not re.search("[@=?]|:(?!//)", url) else f"a URL of {url.partition(':')[0][:20]!r}"
