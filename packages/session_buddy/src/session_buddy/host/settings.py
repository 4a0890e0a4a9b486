"""Settings: what can be set, from where, and what is wrong with it when something is.

Flags > ``SESSION_BUDDY_*`` > the working folder's ``settings/local.yaml`` > the user's ``session-buddy.yaml``
> the working folder's ``settings/session-buddy.yaml`` > the defaults. A working folder may be anybody's idea
(a clone, an unpacked archive), so its two files count only if this user owns them, and never say on which
address the server listens, whom it trusts, or where the history lies: :data:`FOLDER_KEYS` is all that they
may set. ``settings/local.yaml`` is shared with other applications: their keys are passed over, and
:data:`OTHERS_KEYS`, which are as likely theirs.
"""

import difflib
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from pydantic_settings.sources import EnvSettingsSource

from oneiric import settings_file
from oneiric.contract import DEFAULT_HEARTBEAT_SECONDS, DEFAULT_LEASE_SECONDS, LEASE_BEATS
from oneiric.paths import Paths, user_paths
from oneiric.settings_yaml import parse
from session_buddy.errors import ConfigurationError
from session_buddy.host.database_url import DEFAULT_QUERY_SECONDS, DatabaseUrl
from session_buddy.host.histories import own
from session_buddy.host.places import APP, working_folder
from session_buddy.host.variables import PREFIX, require_known

FOLDER_KEYS: Final = frozenset({"port", "log_level"})
DATABASE_KEYS: Final = frozenset({"storage_url", "db_path"})
OTHERS_KEYS: Final = frozenset({"backup"})
_SECRETS: Final = frozenset({"secret", "storage_url"})
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

    @classmethod
    def settings_customise_sources(cls, *_: Any, **sources: Any) -> tuple[Any, ...]:  # noqa: ANN401 - the library's
        """The layers are put together here, the environment's among them: see :func:`load_settings`."""
        return (sources["init_settings"],)

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


@dataclass(frozen=True)
class _Layer:
    """One place that settings come from: its name for messages, its values, the line of each."""

    name: str
    values: Mapping[str, Any]
    lines: Mapping[tuple[str, ...], int]

    def where(self, *key: str) -> str:
        line = self.lines.get(key) or self.lines.get(key[:1])
        return f"{self.name}, line {line}" if line else self.name


def load_settings(folder: Path | None = None, *, db: str | None = None, **flags: object) -> Settings:
    """The settings in force.

    Args:
        folder: whose ``settings/`` counts; the working folder if not given.
        db: the database as the command line names it: a path, or a URL.
        flags: settings named on the command line; ``None`` is not named.

    Raises:
        ConfigurationError: file, line or key, and what is allowed there.
    """
    named = {key: value for key, value in flags.items() if value is not None}
    if db == "":
        raise ConfigurationError("--db: '' names no database: a path or a URL is allowed")
    if db is not None:
        named["storage_url" if "://" in db else "db_path"] = db
    layers = [*_file_layers(folder or working_folder()), _environment(), _Layer("command line", named, {})]
    try:
        settings = Settings(**_merged(layers))
    except ValidationError as error:
        raise _complaint(error, layers) from None
    least = LEASE_BEATS * settings.heartbeat_seconds
    if "lease_seconds" in settings.model_fields_set and settings.lease_seconds < least:
        raise ConfigurationError(
            f"{_place(layers, 'lease_seconds')}: {settings.lease_seconds:g} is not valid: four heartbeats,"
            f" {least:g} seconds, are the least"
        )
    return settings


def _merged(layers: Sequence[_Layer]) -> dict[str, Any]:
    """The strongest value of each key, also of those in a section; the database has one of its two names.

    Raises:
        ConfigurationError: one layer names the database twice.
    """
    values: dict[str, Any] = {}
    for layer in layers:
        if layer.values.keys() >= DATABASE_KEYS:
            raise ConfigurationError(
                f"{layer.name}: storage_url and db_path are both set; both name the database: keep one"
            )
        if layer.values.keys() & DATABASE_KEYS:
            values = {key: value for key, value in values.items() if key not in DATABASE_KEYS}
        values |= {key: _over(values.get(key), value) for key, value in layer.values.items()}
    return values


def _over(below: object, above: object) -> object:
    """A value of a stronger layer; of a section, what it names itself."""
    return {**below, **above} if isinstance(below, dict) and isinstance(above, dict) else above


def _environment() -> _Layer:
    require_known(os.environ)
    return _Layer("environment", EnvSettingsSource(Settings)(), {})


def _variables(key: str) -> str:
    """A setting's name in the environment; of a section, those of what is in it."""
    name = f"{PREFIX}{key.upper()}"
    inner = BackupSettings.model_fields if key == "backup" else ()
    return " and ".join(f"{name}__{inside.upper()}" for inside in inner) or name


def _file_layers(folder: Path) -> list[_Layer]:
    user = _read(user_paths().config / APP / f"{APP}.yaml")
    own = _read(folder / "settings" / f"{APP}.yaml", only=FOLDER_KEYS)
    local = _read(folder / "settings" / "local.yaml", only=FOLDER_KEYS, shared=True)
    return [layer for layer in (own, user, local) if layer is not None]


def _read(path: Path, only: frozenset[str] | None = None, *, shared: bool = False) -> _Layer | None:
    """A settings file as a layer, ``None`` if there is none to read; ``shared`` with other applications."""
    try:
        raw = settings_file.read(path, own=only is not None)
        if raw is None:
            return None
        content = parse(raw, str(path))
    except settings_file.InvalidFile as error:
        raise ConfigurationError(str(error)) from None
    layer = _Layer(str(path), content.values, content.lines)
    known = {key: value for key, value in layer.values.items() if _is_known(layer, key, shared=shared)}
    for key in known:
        if only is not None and key not in only:
            raise ConfigurationError(
                f"{layer.where(key)}: {key} is not allowed in a working folder's settings; set it in"
                f" {user_paths().config / APP / f'{APP}.yaml'}, or as {_variables(key)}"
            )
    return _Layer(layer.name, known, layer.lines)


def _is_known(layer: _Layer, key: str, *, shared: bool) -> bool:
    ours = [name for name in Settings.model_fields if not (shared and name in OTHERS_KEYS)]
    if key in ours:
        return True
    guess = difflib.get_close_matches(key, ours, n=1, cutoff=0.75)
    if shared and not guess:
        return False
    hint = f" (did you mean {guess[0]}?)" if guess else ""
    allowed = ", ".join(ours)
    raise ConfigurationError(f"{layer.where(key)}: unknown key {key!r}{hint}; allowed: {allowed}")


def _complaint(error: ValidationError, layers: list[_Layer]) -> ConfigurationError:
    first = error.errors(include_url=False)[0]
    key, *inner = map(str, first["loc"])
    name = _place(layers, key, *inner)
    if name is None or key not in Settings.model_fields:
        return ConfigurationError(f"{key}: unknown setting; allowed: {', '.join(Settings.model_fields)}")
    if first["type"] == "extra_forbidden":
        return ConfigurationError(
            f"{name}: unknown setting; allowed: {', '.join(BackupSettings.model_fields)}"
        )
    message = first["msg"].removeprefix("Value error, ").partition(", unable to")[0]
    message = message.replace("Input should be", "allowed is")
    if first["type"] == "model_type":
        message = f"a section with {' and '.join(BackupSettings.model_fields)} is allowed"
    shown = "" if key in _SECRETS else f": {first['input']!r} is not valid"
    return ConfigurationError(f"{name}{shown}: {message}")


def _place(layers: Sequence[_Layer], key: str, *inner: str) -> str | None:
    """Where the value of a key, or of one in a section, comes from: a variable, or file, line and key."""
    source = next((layer for layer in reversed(layers) if _names(layer, key, inner)), None)
    if source is None:
        return None
    if source.name == "environment":
        return "__".join([f"{PREFIX}{key}", *inner]).upper()
    return f"{source.where(key, *inner)}: {'.'.join([key, *inner])}"


def _names(layer: _Layer, key: str, inner: Sequence[str]) -> bool:
    """Whether a layer sets a key, of a section the one in it that is meant."""
    value = layer.values.get(key)
    return key in layer.values and (not inner or not isinstance(value, dict) or inner[0] in value)
