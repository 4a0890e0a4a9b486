"""What the kernel saw of a process, thread by thread, as strace wrote it down."""

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple, Self

PROGRAM = "strace"
# -f: all threads; -s: so much of a text that a path is whole.
OPTIONS = ("-f", "-qq", "-s", "300", "-e", "trace=%file,%desc,%network", "-e", "signal=none")

_LINE = re.compile(r"(?P<thread>\d+) +(?P<name>\w+)\((?P<rest>.*)")
_TEXT = re.compile(r'"((?:[^"\\]|\\.)*)"')
_MARK = re.compile(r"/mark-(\w+)$")
_IMPORTED = re.compile(r"import time:.*\| +(?P<module>\S+)\\n$")


class Call(NamedTuple):
    """One system call.

    Attributes:
        thread: the kernel's id of the thread; the main one's is that of the process.
        name: e.g. ``openat``.
        text: the first text among its arguments: the path, or what is written; empty without one.
    """

    thread: int
    name: str
    text: str

    @property
    def imported(self) -> str | None:
        """The module whose import ``-X importtime`` tells with this write."""
        found = _IMPORTED.match(self.text) if self.name == "write" else None
        return found and found["module"]


class Trace(NamedTuple):
    """The calls of a process in the order in which they began."""

    calls: list[Call]

    @classmethod
    def parse(cls, lines: Iterable[str]) -> Self:
        """Read what strace wrote; how calls ended is not looked at."""
        return cls(list(_calls(lines)))

    @property
    def caller(self) -> int:
        """The main thread."""
        return self.calls[0].thread

    def between(self, one: str, other: str) -> "Trace":
        """From one mark to another; a process sets a mark with ``os.access("/mark-NAME", 0)``."""
        places = {mark[1]: place for place, call in enumerate(self.calls) if (mark := _MARK.match(call.text))}
        return Trace(self.calls[places[one] + 1 : places[other]])

    def of(self, thread: int) -> "Trace":
        """What one thread did."""
        return Trace([call for call in self.calls if call.thread == thread])

    def beside(self, thread: int) -> "Trace":
        """What all other threads did."""
        return Trace([call for call in self.calls if call.thread != thread])

    def named(self, *names: str) -> list[Call]:
        """The calls with one of these names."""
        return [call for call in self.calls if call.name in names]


def _calls(lines: Iterable[str]) -> Iterator[Call]:
    for line in lines:
        found = _LINE.match(line)
        if found:
            text = _TEXT.search(found["rest"])
            yield Call(int(found["thread"]), found["name"], text[1] if text else "")
