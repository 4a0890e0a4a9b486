"""What can be set, and which values are allowed; :mod:`session_buddy.host.layers` reads it."""

import os
import re
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from oneiric.contract import DEFAULT_HEARTBEAT_SECONDS, DEFAULT_LEASE_SECONDS
from oneiric.paths import Paths, user_paths
from session_buddy.errors import ConfigurationError
from session_buddy.host.database_url import DEFAULT_QUERY_SECONDS, DatabaseUrl
from session_buddy.host.histories import own
from session_buddy.host.variables import PREFIX

MIN_SECRET: Final = 32
MAKE_SECRET: Final = "python -c 'import secrets; print(secrets.token_urlsafe(32))'"  # noqa: S105 - how to make one
DEFAULT_PORT: Final = 8678
_HOST: Final = re.compile(r"(?:https?://)?(\[[0-9a-f:.]+\]|[^\s/:@?#\[\]]+?)\.?(?::\d+)?/?", re.IGNORECASE)
_ADDRESS: Final = re.compile(r"[0-9.]+|[0-9a-f:.%]*:.*", re.IGNORECASE)

# What public keys and certificates carry: everybody may know those, and the library that signs warns of them.
_KEY_MARKS: Final = ("-----BEGIN ", "---- BEGIN ", "ssh-rsa ", "ssh-dss ", "ssh-ed25519 ", "ecdsa-sha2-")


def wrong_with(secret: str) -> str | None:
    """Why nothing can be signed with a secret, ``None`` if it is a good one."""
    if len(secret) < MIN_SECRET:
        return f"a secret has at least {MIN_SECRET} characters"
    if secret != secret.encode(errors="replace").decode():
        return "a secret is text in UTF-8"
    if any(mark in secret for mark in _KEY_MARKS):
        return "a secret is neither a key pair's file nor a certificate"
    return None


def _good(secret: SecretStr | None) -> SecretStr | None:
    if secret is not None and (problem := wrong_with(secret.get_secret_value())):
        raise ValueError(f"{problem}; make one with {MAKE_SECRET}")
    return secret


def _split(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _hosts(names: list[str]) -> list[str]:
    """Names of hosts as people write them, as the Host header has them: no scheme, no port, no dot behind."""
    return [_host(name) for name in names]


def _host(written: str) -> str:
    found = _HOST.fullmatch(written)
    with suppress(UnicodeError):
        if found:
            return found[1].lower().encode("idna").decode()
    raise ValueError(f"{written!r} is no host: names like buddy.example are allowed")


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def _no_switch(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("a number is allowed")  # noqa: TRY004 - what pydantic turns into a complaint
    return value


_NUMBER: Final = BeforeValidator(_no_switch)

NEVER: Final = "never"
_DAYS: Final = re.compile(r"([0-9]{1,5}) ?(d|days?|w|weeks?)")


def _days(text: object) -> str:
    """A length in days, as ``90d``; weeks are as well written."""
    found = _DAYS.fullmatch(text.strip().lower()) if isinstance(text, str) else None
    if found is None:
        raise ValueError("days are allowed, as in 90d, or weeks, as in 12w")
    return f"{int(found[1]) * (7 if found[2].startswith('w') else 1)}d"


def _days_or_never(text: object) -> str:
    if isinstance(text, str) and text.strip().lower() == NEVER:
        return NEVER
    days = _days(text)
    if days == "0d":
        raise ValueError(f"a day, 1d, is the least; or {NEVER}")
    return days


def _length(days: str) -> timedelta:
    return timedelta(days=int(days.removesuffix("d")))


class BackupSettings(BaseModel):
    """When a server makes backups: ``SESSION_BUDDY_BACKUP__EVERY_HOURS``, ``SESSION_BUDDY_BACKUP__KEEP``.

    Attributes:
        every_hours: how old the last may be when the next is made, 0 for none.
        keep: how many stay; the oldest go.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    every_hours: Annotated[float, Field(ge=0, le=87600), _NUMBER] = 24
    keep: Annotated[int, Field(ge=1, le=10000), _NUMBER] = 7


class Settings(BaseSettings):
    """Everything that can be set.

    Attributes:
        host: address that the server listens on.
        port: TCP port, 0 for any free one.
        storage_url: the database, e.g. ``duckdb:////var/lib/buddy/sessions.duckdb``.
        db_path: the same for a DuckDB file, as a plain path.
        secret: what tokens are signed with; without it one is made at the first start.
        allowed_hosts: names under which a reverse proxy or another machine may address the server.
        log_level: how much the log says.
        heartbeat_seconds: how often a live shell reports while there are few; many are told to take longer.
        lease_seconds: how long a shell that nobody can see may be silent before its session counts as lost;
            at least four heartbeats.
        query_seconds: how long a query may take; what takes longer is stopped.
        retain_for: how long sessions that are over stay at least: nothing younger may be pruned; in days.
        delete_after: how long after its end a server deletes a session by itself, in days, or ``never``.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", env_ignore_empty=True, extra="forbid", frozen=True
    )

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535), _NUMBER] = DEFAULT_PORT
    storage_url: SecretStr | None = None
    db_path: Path | None = None
    secret: Annotated[SecretStr | None, AfterValidator(_good)] = None
    allowed_hosts: Annotated[list[str], NoDecode, BeforeValidator(_split), AfterValidator(_hosts)] = []
    log_level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_lower)] = "info"
    backup: BackupSettings = BackupSettings()

    heartbeat_seconds: Annotated[float, Field(ge=1, le=3600), _NUMBER] = DEFAULT_HEARTBEAT_SECONDS
    lease_seconds: Annotated[float, Field(ge=1, le=86_400 * 7), _NUMBER] = DEFAULT_LEASE_SECONDS
    # Callers wait for an answer a little longer than the longest.
    query_seconds: Annotated[float, Field(ge=1, le=20), _NUMBER] = DEFAULT_QUERY_SECONDS

    retain_for: Annotated[str, BeforeValidator(_days)] = "0d"
    delete_after: Annotated[str, BeforeValidator(_days_or_never)] = NEVER

    @classmethod
    def settings_customise_sources(cls, *_: Any, **sources: Any) -> tuple[Any, ...]:  # noqa: ANN401 - the library's
        """Layers, the environment among them, are put together in :mod:`session_buddy.host.layers`."""
        return (sources["init_settings"],)

    @property
    def retain(self) -> timedelta:
        """What :attr:`retain_for` says."""
        return _length(self.retain_for)

    @property
    def deleted(self) -> timedelta | None:
        """What :attr:`delete_after` says; ``None``: never."""
        return None if self.delete_after == NEVER else _length(self.delete_after)

    @property
    def host_names(self) -> list[str]:
        """Names that a request may carry as its host, beside the address that it came to."""
        # Not an address: each that a request can come to is allowed by itself, and 0.0.0.0 is anybody's.
        own = [] if _ADDRESS.fullmatch(self.host) else [self.host]
        return [form for name in (*own, *self.allowed_hosts) for form in (name, f"{name}.")]

    def url(self, port: int) -> str:
        """How this machine itself reaches a server of these settings that listens on ``port``."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104 - shown, not bound
        return f"http://[{host}]:{port}/mcp" if ":" in host else f"http://{host}:{port}/mcp"

    def variables(self, port: int) -> dict[str, str]:
        """These settings as variables, for a server that got ``port``; not its secret, nor its database."""
        said = self.model_dump(exclude={"secret", "storage_url", "db_path"}) | {"port": port}
        said |= {f"backup__{name}": value for name, value in said.pop("backup").items()}
        return {
            f"{PREFIX}{name.upper()}": ",".join(value) if isinstance(value, list) else str(value)
            for name, value in said.items()
        }

    def database_url(self, paths: Paths | None = None) -> DatabaseUrl:
        """The database: as it was named, a file by its absolute path; else this user's own.

        Raises:
            ConfigurationError: no store goes by the URL; a path begins with the home of a user who does not
                exist.
        """
        url = DatabaseUrl.parse(self.storage_url.get_secret_value()) if self.storage_url else None
        file = url.file if url else self.db_path
        return DatabaseUrl.of(_absolute(file)) if file else url or own(paths or user_paths())


def _absolute(path: Path) -> Path:
    try:
        path = path.expanduser().absolute()
    except RuntimeError as error:
        raise ConfigurationError(f"database {path}: {error}") from None
    if not _can_be_a_path(str(path)):
        raise ConfigurationError(f"database {str(path)!r}: a name of one line is allowed")
    # Behind a link, the database's library would take .. for the folder that holds the link.
    return Path(os.path.realpath(path.parent), path.name) if ".." in path.parts else path


def _can_be_a_path(text: str) -> bool:
    with suppress(UnicodeError):
        return not {0, 10} & set(os.fsencode(text))
    return False
