"""The last line of ``./dev test``: what all the tests came to; in full also how much of the code they ran."""

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Final, NamedTuple
from xml.etree import ElementTree as ET

LIMIT: Final = 94  # per cent, of lines and branches


class Run(NamedTuple):
    """What pytest counted."""

    tests: int
    failed: int
    errors: int
    skipped: int
    seconds: float

    @classmethod
    def read(cls, path: Path) -> "Run":
        """Read it from the file that ``--junitxml`` names."""
        suite = ET.parse(path).getroot().find("testsuite")  # noqa: S314 - pytest wrote it
        assert suite is not None
        tests, failed, errors, skipped = (
            int(suite.get(name, "0")) for name in ("tests", "failures", "errors", "skipped")
        )
        return cls(tests, failed, errors, skipped, float(suite.get("time", "0")))

    def __str__(self) -> str:
        ill = [
            f"{count} {what}" for count, what in ((self.failed, "failed"), (self.errors, "errors")) if count
        ]
        well = self.tests - self.failed - self.errors - self.skipped
        said = f"{', '.join(ill)} of {self.tests}" if ill else f"{well} passed"
        skipped = f", {self.skipped} skipped" if self.skipped else ""
        return f"{said}{skipped} in {self.seconds:.0f} s"


def drop_torn(folder: Path) -> int:
    """Remove what processes that were killed left of their measurements; returns how many that were."""
    torn = [path for path in folder.glob(".coverage.*") if not _is_whole(path)]
    for path in torn:
        path.unlink()
    return len(torn)


def _is_whole(path: Path) -> bool:
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as data:
            data.execute("SELECT count(*) FROM arc").fetchone()
            checked: list[tuple[str]] = data.execute("PRAGMA quick_check").fetchall()
            return checked == [("ok",)]
    except sqlite3.DatabaseError:
        return False


def measured() -> float:
    """Combine what all processes measured and show what no test ran; returns the coverage, in per cent."""
    coverage = [sys.executable, "-m", "coverage"]
    subprocess.run([*coverage, "combine", "--quiet"], check=True)
    subprocess.run([*coverage, "report"], check=True)
    command = [*coverage, "report", "--format=total", "--precision=1"]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main(code: int, found: Path, *, covered: bool) -> int:
    """Print the line; returns the exit code that goes with it.

    Args:
        code: what pytest gave.
        found: the file that it wrote.
        covered: whether the processes measured which code they ran.
    """
    if not found.exists():
        print(f"The tests did not run: pytest gave {code}")
        return code or 1
    parts, enough = [str(Run.read(found))], True
    if covered:
        torn = drop_torn(Path())
        enough = (percent := measured()) >= LIMIT
        parts.append(f"coverage {percent:.1f} %" + ("" if enough else f", less than {LIMIT} %"))
        parts += [f"{torn} killed processes not measured"] * bool(torn)
    parts += [f"pytest gave {code}"] * (code > 1)
    print(", ".join(parts))
    return code or (0 if enough else 1)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), Path(sys.argv[2]), covered="--all" in sys.argv))
