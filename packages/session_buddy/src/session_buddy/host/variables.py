"""The names of this package's variables, for commands that do without the settings and their library."""

from typing import Final

from oneiric.config import ENDPOINT_VARIABLES

PREFIX: Final = "SESSION_BUDDY_"
DATABASE: Final = frozenset({f"{PREFIX}STORAGE_URL", f"{PREFIX}DB_PATH"})
# Of the emitter, and of the command line.
OTHERS: Final = frozenset({*ENDPOINT_VARIABLES, f"{PREFIX}DEBUG"})
_NAMES: Final = (
    *("HOST", "PORT", "SECRET", "ALLOWED_HOSTS", "LOG_LEVEL", "HEARTBEAT_SECONDS", "LEASE_SECONDS"),
    *("BACKUP__EVERY_HOURS", "BACKUP__KEEP"),
)
SETTINGS: Final = DATABASE | {f"{PREFIX}{name}" for name in _NAMES}
