"""What a settings file says: YAML of plain values, which costs little whatever it is.

Its own extra, ``oneiric[settings]``, and a module of its own: its library takes 0.02 s, which who has no
settings file need not pay.
"""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import yaml

from oneiric.settings_file import InvalidFile

MAX_DEPTH: Final = 8


class Content(NamedTuple):
    """What a file holds.

    Attributes:
        values: by key, which is always text; of a section, again by key.
        lines: the line of each, from 1: ``("port",)`` or ``("backup", "keep")``.
    """

    values: dict[str, Any]
    lines: dict[tuple[str, ...], int]


class _Loader(yaml.SafeLoader):
    """Plain values only: an alias may make a few hundred bytes a million values."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self.depth += 1
        if self.check_event(yaml.AliasEvent) or self.depth > MAX_DEPTH:
            problem = f"an alias, or more than {MAX_DEPTH} levels"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=self.get_mark())
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def parse(raw: bytes, name: str) -> Content:
    """What a settings file says, which errors call ``name``.

    Raises:
        InvalidFile: it is no YAML of plain values in a few levels.
    """
    try:
        loader = _Loader(raw.decode())
        node = loader.get_single_node()
        values = None if node is None else loader.construct_document(node)
    except UnicodeDecodeError as error:
        raise InvalidFile(f"{name} cannot be read: {error}") from None
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError) as error:
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
        where = f"{name}, line {mark.line + 1}" if mark else name
        raise InvalidFile(
            f"{where}: not valid YAML: {problem or 'broken'}; lines like `key: value` are allowed"
        ) from None
    if not isinstance(values, dict | None):
        raise InvalidFile(f"{name}: lines like `key: value` are allowed, not a {type(values).__name__}")
    return Content({key: _keyed(value) for key, value in _keyed(values or {}).items()}, dict(_lines(node)))


def _keyed(value: Any) -> Any:  # noqa: ANN401 - whatever a file holds
    """A section with texts as its keys, which may be numbers in a file; anything else as it is."""
    return {str(key): inner for key, inner in value.items()} if isinstance(value, dict) else value


def _lines(node: yaml.Node | None, above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], int]]:
    for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
        path = (*above, str(key.value))
        yield path, key.start_mark.line + 1
        if not above:
            yield from _lines(value, path)
