"""Settings: flags > environment > settings/local.yaml > user file > settings/mahavishnu.yaml > defaults.

A setting that this version does not have, as earlier ones had many, is passed over and told; one that is
nearly named like ours is a mistake, and an error: passed over it would, say, leave the tracking on.

The two files in the working folder count only where this user owns them; nothing here is an endpoint, a
token or a secret, which a folder must never be able to set. ``settings/local.yaml`` is shared with other
components: sections that are not ours are theirs.

Every setting is a switch in a section. No models here: those that could do the same cost
each start of the shell 0.13 s (pydantic) or 0.23 s (pydantic-settings) of the 0.3 s that IPython takes, and
could not say which line a wrong value stands in.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from reprlib import repr  # noqa: A004 - a line for a person holds no whole file
from typing import Any, Final

from mahavishnu.errors import SettingsError
from oneiric.settings_file import InvalidFile, read

PREFIX: Final = "MAHAVISHNU_"
PROJECT_FILE: Final = Path("settings/mahavishnu.yaml")
LOCAL_FILE: Final = Path("settings/local.yaml")

_WORDS: Final = {
    "true": True,
    "yes": True,
    "on": True,
    "1": True,
    "false": False,
    "no": False,
    "off": False,
    "0": False,
}

Key = tuple[str, str]


@dataclass(frozen=True)
class Session:
    """The tracking of this shell's sessions.

    Attributes:
        enabled: report them.
        ask_person: ask at a terminal who it is, where the account and the login do not tell.
    """

    enabled: bool = True
    ask_person: bool = False


@dataclass(frozen=True)
class Adapters:
    """The orchestration adapters in use."""

    prefect: bool = True
    llamaindex: bool = True
    agno: bool = True


@dataclass(frozen=True)
class Shell:
    """The prompt.

    Attributes:
        cli_commands: run commands typed without a prefix.
        tab_completion: complete those commands with Tab.
    """

    cli_commands: bool = True
    tab_completion: bool = True


SECTIONS: Final[dict[str, Any]] = {"session": Session, "adapters": Adapters, "shell": Shell}


# Also with one underscore, as some guides had it.
_VARIABLES: Final[dict[str, Key]] = {
    f"{PREFIX}{name}{between}{item.name}".upper(): (name, item.name)
    for name, section in SECTIONS.items()
    for item in fields(section)
    for between in ("_", "__")
} | {f"{PREFIX}SESSION": ("session", "enabled")}
_NEARLY: Final = 0.75
# Of variables, whose beginnings are alike: MAHAVISHNU_SESSION_ID is somebody else's.
_ALMOST: Final = 0.95


@dataclass(frozen=True)
class Place:
    """Where settings stand.

    Attributes:
        name: a file's path, a flag, "environment".
        lines: of a file, the line of each section and key.
        variables: of the environment, the variable that sets a key.
    """

    name: str
    lines: Mapping[tuple[str, ...], int] = field(default_factory=dict)
    variables: Mapping[tuple[str, ...], str] = field(default_factory=dict)

    def of(self, *key: object) -> str:
        """Where exactly ``key`` stands: a variable, a flag, a file with the line."""
        path = tuple(map(str, key))
        variable = self.variables.get(path)
        # The section may be the switch itself.
        line = self.lines.get(path) or self.lines.get(path[:1])
        return variable or (f"{self.name}, line {line}" if line else self.name)


@dataclass(frozen=True)
class Layer:
    """The switches that one place sets, by section and key, and a line for all that is no setting."""

    place: Place
    values: Mapping[Key, bool]
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True)
class Settings:
    """All settings, the layers that they come from, the strongest first, and a line for what is none."""

    session: Session = Session()
    adapters: Adapters = Adapters()
    shell: Shell = Shell()
    layers: tuple[Layer, ...] = ()
    unknown: tuple[str, ...] = ()

    def place(self, section: str, key: str) -> str:
        """Where the value of a setting was set."""
        places = (layer.place for layer in self.layers if (section, key) in layer.values)
        return next(places, Place("the defaults")).of(section, key)


def load(
    environ: Mapping[str, str], folder: Path, config: Path, flags: Mapping[Key, bool] | None = None
) -> Settings:
    """Read all layers.

    Args:
        environ: the environment.
        folder: the working folder.
        config: the user's configuration folder.
        flags: what the command line sets.

    Raises:
        SettingsError: a file cannot be read or is no YAML, or a key or value is not allowed.
    """
    layers = [Layer(Place("--no-tracking"), flags or {}), _from_environment(environ)]
    layers += [_from_file(path, name, own=own) for path, name, own in _files(folder, config)]
    values = {key: value for layer in reversed(layers) for key, value in layer.values.items()}
    sections = {name: cls(**_of_section(values, name)) for name, cls in SECTIONS.items()}
    unknown = tuple(line for layer in layers for line in layer.unknown)
    return Settings(**sections, layers=tuple(layer for layer in layers if layer.values), unknown=unknown)


def _of_section(values: Mapping[Key, bool], name: str) -> dict[str, bool]:
    return {key: value for (section, key), value in values.items() if section == name}


def _files(folder: Path, config: Path) -> Iterator[tuple[Path, str, bool]]:
    """Settings files, the strongest first; what errors call them; whether this user must own them."""
    yield folder / LOCAL_FILE, str(LOCAL_FILE), True
    user_file = config / "mahavishnu" / "mahavishnu.yaml"
    yield user_file, str(user_file), False
    yield folder / PROJECT_FILE, str(PROJECT_FILE), True


def _from_environment(environ: Mapping[str, str]) -> Layer:
    """``MAHAVISHNU_SESSION__ENABLED``; empty means not set, and variables of other sections are not ours."""
    values: dict[Key, bool] = {}
    variables: dict[tuple[str, ...], str] = {}
    unknown: list[str] = []
    for name, value in environ.items():
        variable = name.upper()
        if not variable.startswith(PREFIX) or not value:
            continue
        if key := _VARIABLES.get(variable):
            on = _switch(name, key, value)
            if not on or key not in values:  # said twice, off wins
                values[key], variables[key] = on, name
            continue
        line = _passed_over(name, variable, _VARIABLES, cutoff=_ALMOST)
        if variable.removeprefix(PREFIX).lower().partition("_")[0] in SECTIONS:
            unknown.append(line)
    return Layer(Place("environment", variables=variables), values, tuple(unknown))


def _from_file(path: Path, name: str, *, own: bool) -> Layer:
    try:
        raw = read(path, name, own=own)
        if raw is None:
            return Layer(Place(name), {})
        from oneiric.settings_yaml import parse  # 0.02 s that a shell without a file need not pay

        content = parse(raw, name)
    except InvalidFile as error:
        raise SettingsError(str(error)) from None
    place = Place(name, content.lines)
    shared = name == str(LOCAL_FILE)
    ours = {key: value for key, value in content.values.items() if key in SECTIONS or not shared}
    return _layer(place, ours)


def _layer(place: Place, raw: Mapping[str, Any]) -> Layer:
    switches: dict[Key, bool] = {}
    unknown: list[str] = []
    for section, values in raw.items():
        if section not in SECTIONS:
            unknown.append(_passed_over(f"{place.of(section)}: {section}", section, SECTIONS))
            continue
        known = [item.name for item in fields(SECTIONS[section])]
        if "enabled" in known and str(values).lower() in _WORDS:
            values = {"enabled": values}  # noqa: PLW2901 - the section as a switch
        if not isinstance(values, dict | None):
            raise SettingsError(
                f"{place.of(section)}: {section} is {repr(values)}; allowed in it: {', '.join(known)}"
            )
        for key, value in (values or {}).items():
            where = f"{place.of(section, key)}: {section}.{key}"
            if key in known:
                switches[section, key] = _switch(place.of(section, key), (section, key), value)
            else:
                unknown.append(_passed_over(where, key, known))
    return Layer(place, switches, tuple(unknown))


def _switch(where: str, key: Key, value: object) -> bool:
    if str(value).lower() not in _WORDS:
        raise SettingsError(f"{where}: {'.'.join(key)} is {repr(value)}; allowed: true, false")
    return _WORDS[str(value).lower()]


def _passed_over(where: str, name: object, known: Iterable[str], *, cutoff: float = _NEARLY) -> str:
    """The line that tells of an unknown setting.

    Raises:
        SettingsError: it is nearly named like one of ``known``.
    """
    from difflib import get_close_matches  # which IPython does without

    if guess := get_close_matches(str(name), known, n=1, cutoff=cutoff):
        raise SettingsError(f"{where} is no setting; did you mean {guess[0]}?")
    return f"{where} is no setting of this version and is passed over"
