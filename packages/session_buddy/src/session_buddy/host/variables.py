"""The names of this package's variables: a mistyped one would be ignored silently, so it is an error."""

from collections.abc import Iterable
from typing import Final

from oneiric.config import ENDPOINT, TOKEN_VARIABLES
from session_buddy.errors import ConfigurationError

PREFIX: Final = "SESSION_BUDDY_"
PORT: Final = f"{PREFIX}PORT"
STORAGE_URL: Final = f"{PREFIX}STORAGE_URL"
DATABASE: Final = frozenset({STORAGE_URL, f"{PREFIX}DB_PATH"})
# Of the emitter, and of the command line.
_OTHERS: Final = frozenset({ENDPOINT, *TOKEN_VARIABLES, f"{PREFIX}DEBUG"})
_NAMES: Final = (
    *(
        "HOST",
        "PORT",
        "SECRET",
        "ALLOWED_HOSTS",
        "LOG_LEVEL",
        "HEARTBEAT_SECONDS",
        "LEASE_SECONDS",
        "QUERY_SECONDS",
        "RETAIN_FOR",
        "DELETE_AFTER",
    ),
    *("BACKUP__EVERY_HOURS", "BACKUP__KEEP"),
)
SETTINGS: Final = DATABASE | {f"{PREFIX}{name}" for name in _NAMES}


def require_known(names: Iterable[str]) -> None:
    """Make sure that each variable which is named like ours is one.

    Raises:
        ConfigurationError: which is not, and which might be meant.
    """
    known = SETTINGS | _OTHERS
    for name in names:
        if name.upper().startswith(PREFIX) and name.upper() not in known:
            from difflib import get_close_matches  # which few need

            guess = get_close_matches(name.upper(), known, n=1, cutoff=0.8)
            hint = f" (did you mean {guess[0]}?)" if guess else ""
            raise ConfigurationError(f"{name}: unknown setting{hint}; allowed: {', '.join(sorted(SETTINGS))}")
