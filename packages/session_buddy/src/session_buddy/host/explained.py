"""The settings in force, each with where it comes from; and this user's own file, changed by one key."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml
from pydantic import SecretStr

from oneiric import settings_file
from oneiric.settings_file import InvalidFile
from oneiric.settings_yaml import parse
from session_buddy.errors import ConfigurationError
from session_buddy.host.layers import Layer, layers_of, place_of, settings_of, unknown, user_file
from session_buddy.host.replacing import replace
from session_buddy.host.settings import BackupSettings, Settings
from session_buddy.host.variables import PREFIX

DEFAULT: Final = "default"
_HIDDEN: Final = "(set, not shown)"
# Written as it is: YAML reads it as the same text.
_PLAIN: Final = re.compile(r"[A-Za-z0-9_./-][\w./-]*")


class Setting(NamedTuple):
    """One setting.

    Attributes:
        key: its name; of one in a section ``backup.keep``.
        value: what is in force; of a secret only that it is set.
        source: a variable, or file, line and key, or ``default``.
        variable: its name in the environment.
    """

    key: str
    value: Any
    source: str
    variable: str


def keys() -> list[tuple[str, ...]]:
    """All that can be set, those of a section one by one."""
    names = [(name,) for name in Settings.model_fields if name != "backup"]
    return [*names, *(("backup", name) for name in BackupSettings.model_fields)]


def in_force(folder: Path | None = None) -> list[Setting]:
    """All settings.

    Args:
        folder: whose ``settings/`` counts; the working folder if not given.

    Raises:
        ConfigurationError: they are not valid.
    """
    layers = layers_of(folder)
    settings = settings_of(layers)
    settings.database_url()
    return [_setting(key, settings, layers) for key in keys()]


def _setting(key: tuple[str, ...], settings: Settings, layers: Sequence[Layer]) -> Setting:
    value: Any = settings
    for name in key:
        value = getattr(value, name)
    if key == ("storage_url",) and not settings.db_path:
        # Without its password; also the one that is meant where none is named.
        value = str(settings.database_url())
    elif isinstance(value, SecretStr):
        value = _HIDDEN
    elif isinstance(value, Path):
        value = str(value)
    variable = f"{PREFIX}{'__'.join(key)}".upper()
    # Of the two names of the database a stronger place has taken the other away.
    counts = key[0] in settings.model_fields_set
    return Setting(".".join(key), value, (place_of(layers, *key) if counts else None) or DEFAULT, variable)


def change(key: str, text: str) -> Path:
    """Set a value in this user's own file; the rest of it, comments included, stays as it is.

    Args:
        key: its name; of one in a section ``backup.keep``.
        text: the value, as YAML has it.

    Returns:
        The file.

    Raises:
        ConfigurationError: there is no such setting, the value is not allowed, or the file cannot be read,
            written, or its line changed.
    """
    known = {".".join(name): name for name in keys()}
    file = user_file()
    if key not in known:
        raise unknown("config set", key, list(known))
    try:
        before = (settings_file.read(file) or b"").decode()
        after = _with(before, known[key], text)
        alone = _layer_of(file, after)
        for layers in (alone, [*alone, *(one for one in layers_of() if one.name != str(file))]):
            settings_of(layers).database_url()
        replace(file, after)
    except InvalidFile as error:
        raise ConfigurationError(str(error)) from None
    except (OSError, UnicodeError) as error:
        raise ConfigurationError(f"{file}: {getattr(error, 'strerror', None) or error}") from None
    return file


def _layer_of(file: Path, text: str) -> list[Layer]:
    """The file as it would be: it was valid before, so what is not valid now is a line that we put there."""
    try:
        content = parse(text.encode(), str(file))
    except InvalidFile:
        raise _not_ours(str(file)) from None
    return [Layer(str(file), content.values, content.lines)]


def _not_ours(where: str) -> ConfigurationError:
    """What is said of a file that cannot be changed line by line."""
    return ConfigurationError(f"{where}: it is written in its own way; edit it there")


def _with(text: str, key: tuple[str, ...], value: str) -> str:
    """A file's text with another value of a key."""
    content = parse(text.encode(), str(user_file()))
    # Whatever ends them: the others stay as they are.
    lines = text.removesuffix("\n").split("\n") if text else []
    *section, name = key
    beside = next((line for one, line in content.lines.items() if section and list(one[:-1]) == section), 0)
    indent = re.match(r"\s*", lines[beside - 1])[0] if beside else "  " * len(section)  # type: ignore[index]
    written = f"{indent}{name}: {_as_yaml(value)}"
    if key in content.lines:
        at = content.lines[key] - 1
        if not re.fullmatch(rf"\s*{name}\s*:.*", lines[at]) or _goes_on(lines, at):
            raise _not_ours(f"{user_file()}, line {at + 1}")
        lines[at] = written + "".join(re.findall(r"^[^\"'#]*?(\s+#.*)$", lines[at]))
    elif section and tuple(section) in content.lines:
        if beside and beside == content.lines[tuple(section)]:
            raise _not_ours(f"{user_file()}, line {beside}")
        lines.insert(content.lines[tuple(section)], written)
    else:
        lines += [*(f"{one}:" for one in section), written]
    return "\n".join(lines) + "\n"


def _goes_on(lines: Sequence[str], at: int) -> bool:
    """Whether a value has more lines than its first."""
    indent = len(lines[at]) - len(lines[at].lstrip())
    rest = [line for line in lines[at + 1 :] if line.strip() and not line.lstrip().startswith("#")]
    return bool(rest) and (rest[0].lstrip().startswith("-") or len(rest[0]) - len(rest[0].lstrip()) > indent)


def _as_yaml(value: str) -> str:
    """A value as a file has it; a text that YAML would read otherwise is quoted."""
    try:
        read = yaml.safe_load(value)
    except yaml.YAMLError:
        read = value
    if not isinstance(read, str | dict):
        return value if value.strip() else '""'
    return value if _PLAIN.fullmatch(value) else json.dumps(value, ensure_ascii=False)
