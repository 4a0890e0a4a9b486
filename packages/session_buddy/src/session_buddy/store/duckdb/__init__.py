"""The embedded store, in one file."""

from session_buddy.store.duckdb.history import DuckDBStore

__all__ = ["DuckDBStore"]
