"""The store on a PostgreSQL server, or on what speaks its protocol."""

from session_buddy.store.postgres.store import PostgresStore

__all__ = ["PostgresStore"]
