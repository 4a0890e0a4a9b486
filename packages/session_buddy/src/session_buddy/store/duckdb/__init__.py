"""The embedded store, in one file."""

from session_buddy.store.duckdb.store import DuckDBStore

__all__ = ["DuckDBStore"]
