"""Where settings come from, and what is wrong with one that is not valid.

Flags > ``SESSION_BUDDY_*`` > the working folder's ``settings/local.yaml`` > the user's ``session-buddy.yaml``
> the working folder's ``settings/session-buddy.yaml`` > the defaults. A working folder may be anybody's idea
(a clone, an unpacked archive), so its two files count only if this user owns them, and never say on which
address the server listens, whom it trusts, or where the history lies: :data:`FOLDER_KEYS` is all that they
may set. ``settings/local.yaml`` is shared with other applications: their keys are passed over, and
:data:`OTHERS_KEYS`, which are as likely theirs.
"""

import difflib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError
from pydantic_settings.sources import EnvSettingsSource

from oneiric import settings_file
from oneiric.contract import LEASE_BEATS
from oneiric.paths import user_paths
from oneiric.settings_yaml import parse
from session_buddy.errors import ConfigurationError
from session_buddy.host.places import APP, working_folder
from session_buddy.host.settings import BackupSettings, Settings
from session_buddy.host.variables import PREFIX, require_known

FOLDER_KEYS: Final = frozenset({"port", "log_level"})
DATABASE_KEYS: Final = frozenset({"storage_url", "db_path"})
OTHERS_KEYS: Final = frozenset({"backup"})
SECRETS: Final = frozenset({"secret", "storage_url"})


@dataclass(frozen=True)
class Layer:
    """One place that settings come from: its name for messages, its values, the line of each."""

    name: str
    values: Mapping[str, Any]
    lines: Mapping[tuple[str, ...], int]

    def where(self, *key: str) -> str:
        """Where the value of a key stands, as messages say it."""
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
    return settings_of([*layers_of(folder), Layer("command line", named, {})])


def layers_of(folder: Path | None = None) -> list[Layer]:
    """The settings files that count, and the environment, the strongest last.

    Raises:
        ConfigurationError: one cannot be read, or names what is no setting.
    """
    return [*file_layers(folder or working_folder()), environment()]


def settings_of(layers: list[Layer]) -> Settings:
    """What layers come to, the strongest last.

    Raises:
        ConfigurationError: a value is not allowed; names where it stands.
    """
    try:
        settings = Settings(**_merged(layers))
    except ValidationError as error:
        raise _complaint(error, layers) from None
    least = LEASE_BEATS * settings.heartbeat_seconds
    if "lease_seconds" in settings.model_fields_set and settings.lease_seconds < least:
        raise ConfigurationError(
            f"{place_of(layers, 'lease_seconds')}: {settings.lease_seconds:g} is not valid: four heartbeats,"
            f" {least:g} seconds, are the least"
        )
    if settings.deleted is not None and settings.deleted < settings.retain:
        raise ConfigurationError(
            f"{place_of(layers, 'delete_after')}: {settings.delete_after!r} is not valid: sessions stay for"
            f" {settings.retain_for} at least, says retain_for"
        )
    return settings


def _merged(layers: Sequence[Layer]) -> dict[str, Any]:
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


def environment() -> Layer:
    """What variables say.

    Raises:
        ConfigurationError: one is named like ours, and is none.
    """
    require_known(os.environ)
    return Layer("environment", EnvSettingsSource(Settings)(), {})


def _variables(key: str) -> str:
    """A setting's name in the environment; of a section, those of what is in it."""
    name = f"{PREFIX}{key.upper()}"
    inner = BackupSettings.model_fields if key == "backup" else ()
    return " and ".join(f"{name}__{inside.upper()}" for inside in inner) or name


def user_file() -> Path:
    """This user's own settings file, be it there or not."""
    return user_paths().config / APP / f"{APP}.yaml"


def file_layers(folder: Path) -> list[Layer]:
    """The settings files that count, the strongest last."""
    user = _read(user_file())
    own = _read(folder / "settings" / f"{APP}.yaml", only=FOLDER_KEYS)
    local = _read(folder / "settings" / "local.yaml", only=FOLDER_KEYS, shared=True)
    return [layer for layer in (own, user, local) if layer is not None]


def _read(path: Path, only: frozenset[str] | None = None, *, shared: bool = False) -> Layer | None:
    """A settings file as a layer, ``None`` if there is none to read; ``shared`` with other applications."""
    try:
        raw = settings_file.read(path, own=only is not None)
        if raw is None:
            return None
        content = parse(raw, str(path))
    except settings_file.InvalidFile as error:
        raise ConfigurationError(str(error)) from None
    layer = Layer(str(path), content.values, content.lines)
    known = {key: value for key, value in layer.values.items() if _is_known(layer, key, shared=shared)}
    for key in known:
        if only is not None and key not in only:
            raise ConfigurationError(
                f"{layer.where(key)}: {key} is not allowed in a working folder's settings; set it in"
                f" {user_file()}, or as {_variables(key)}"
            )
    return Layer(layer.name, known, layer.lines)


def _is_known(layer: Layer, key: str, *, shared: bool) -> bool:
    ours = [name for name in Settings.model_fields if not (shared and name in OTHERS_KEYS)]
    if key in ours:
        return True
    if shared and not _nearest(key, ours):
        return False
    raise unknown(layer.where(key), key, ours)


def _nearest(key: str, known: Sequence[str]) -> list[str]:
    return difflib.get_close_matches(key, known, n=1, cutoff=0.75)


def unknown(where: str, key: str, known: Sequence[str]) -> ConfigurationError:
    """What is said of a key that there is not."""
    hint = "".join(f" (did you mean {near}?)" for near in _nearest(key, known))
    return ConfigurationError(f"{where}: unknown key {key!r}{hint}; allowed: {', '.join(known)}")


def _complaint(error: ValidationError, layers: list[Layer]) -> ConfigurationError:
    first = error.errors(include_url=False)[0]
    key, *inner = map(str, first["loc"])
    name = place_of(layers, key, *inner)
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
    shown = "" if key in SECRETS else f": {first['input']!r} is not valid"
    return ConfigurationError(f"{name}{shown}: {message}")


def place_of(layers: Sequence[Layer], key: str, *inner: str) -> str | None:
    """Where the value of a key, or of one in a section, comes from: a variable, or file, line and key."""
    source = next((layer for layer in reversed(layers) if _names(layer, key, inner)), None)
    if source is None:
        return None
    if source.name == "environment":
        return "__".join([f"{PREFIX}{key}", *inner]).upper()
    return f"{source.where(key, *inner)}: {'.'.join([key, *inner])}"


def _names(layer: Layer, key: str, inner: Sequence[str]) -> bool:
    """Whether a layer sets a key, of a section the one in it that is meant."""
    value = layer.values.get(key)
    return key in layer.values and (not inner or not isinstance(value, dict) or inner[0] in value)
