"""A settings file: a small YAML file that may lie in anybody's clone, and costs little whatever it holds.

Its own extra, ``oneiric[settings]``: the emitter reads none.
"""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml

MAX_BYTES: Final = 64 * 1024
MAX_DEPTH: Final = 8


class InvalidFile(ValueError):  # noqa: N818 - reads as the fact it states
    """The file cannot be read, or holds no settings; where, and what is allowed there."""


class Content(NamedTuple):
    """What a file holds.

    Attributes:
        values: by key, which is always text; of a section, again by key.
        lines: the line of each, from 1: ``("port",)`` or ``("backup", "keep")``.
    """

    values: dict[str, Any]
    lines: dict[tuple[str, ...], int]


def read(path: Path, name: str | None = None, *, own: bool = False) -> Content | None:
    """Read a settings file.

    Args:
        path: the file.
        name: what errors call it, if not by its path.
        own: pass it over unless this user owns it; if it is a link, the link too.

    Returns:
        ``None`` where there is none, or none of this user's.

    Raises:
        InvalidFile: it cannot be read, is no regular file, larger than 64 KiB, or no YAML of plain sections.
    """
    name = name or str(path)
    if own and not _is_own(path):
        return None
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise InvalidFile(f"{name} cannot be read: it is no regular file")
            raw = file.read(MAX_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise InvalidFile(f"{name} cannot be read: {error.strerror}") from None
    if len(raw) > MAX_BYTES:
        raise InvalidFile(f"{name} cannot be read: {MAX_BYTES} bytes are allowed")
    return _content(raw, name)


def _is_own(path: Path) -> bool:
    try:
        return path.lstat().st_uid == path.stat().st_uid == os.geteuid()
    except OSError:
        return False


def _without_waiting(path: str, flags: int) -> int:
    # A FIFO would keep its reader waiting for somebody who writes.
    return os.open(path, flags | os.O_NONBLOCK)


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


def _content(raw: bytes, name: str) -> Content:
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
