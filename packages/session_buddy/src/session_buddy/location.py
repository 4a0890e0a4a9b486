"""Where a database is, by its URL; apart from the stores, whose libraries few commands need."""

from pathlib import Path

from session_buddy.errors import ConfigurationError


def file_of(url: str) -> Path:
    """Which file a database is.

    Raises:
        ConfigurationError: no store goes by this URL.
    """
    scheme, separator, path = url.partition(":///")
    if not separator or scheme != "duckdb" or not path:
        raise ConfigurationError(f"storage_url: {url!r} is not valid: duckdb:///path is allowed")
    return Path(path)
