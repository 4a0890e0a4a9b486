"""The databases that a history may lie in, each for tests."""

import uuid
from pathlib import Path
from typing import Any, Protocol

import pytest

from session_buddy.host.database_url import DatabaseUrl
from tests.postgres import POSTGRES, Postgres, shared


class Engine(Protocol):
    """A database of a test's own, empty at first."""

    url: DatabaseUrl

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        """What a query finds there; no store may have it open."""

    def wipe(self) -> None:
        """Take everything away."""


class DuckDBFile:
    """A DuckDB file; see :class:`Engine`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.url = DatabaseUrl.of(path)

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        """What a query finds."""
        import duckdb

        with duckdb.connect(str(self._path), read_only=True) as connection:
            return connection.execute(sql).fetchall()

    def wipe(self) -> None:
        """Remove the file."""
        self._path.unlink()


class PostgresDatabase:
    """A database on a PostgreSQL server; see :class:`Engine`."""

    def __init__(self, server: Postgres, name: str) -> None:
        self._server = server
        self.name = name
        self.url = DatabaseUrl.parse(server.url(name))
        server.run(f"CREATE DATABASE {name} TEMPLATE template0")

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        """What a query finds."""
        import psycopg

        with psycopg.connect(self.url.whole) as connection:
            connection.execute("SET timezone = 'UTC'")
            return connection.execute(sql.encode()).fetchall()

    def wipe(self) -> None:
        """Make it anew."""
        self.close()
        self._server.run(f"CREATE DATABASE {self.name} TEMPLATE template0")

    def close(self) -> None:
        """Remove it, whoever is connected."""
        self._server.run(f"DROP DATABASE IF EXISTS {self.name} WITH (FORCE)")


def new_database(config: pytest.Config) -> PostgresDatabase:
    """An empty database on the PostgreSQL server of this run."""
    return PostgresDatabase(shared(config.stash[POSTGRES]), f"t{uuid.uuid4().hex}")
