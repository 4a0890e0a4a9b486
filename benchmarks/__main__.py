"""``./dev bench [--quick] [PART…]``: measure, print one table; ``./dev bench --help`` names the parts."""

import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks import emitter, evidence, kills, memory, million, page, postgres, soak, starts, store, stream
from benchmarks.measure import FULL, QUICK, Effort, Row, table
from tests.world import World

PARTS: dict[str, Callable[[World, Effort], Iterator[Row]]] = {
    "starts": starts.rows,
    "emitter": emitter.rows,
    "evidence": evidence.rows,
    "store": store.rows,
    "million": million.rows,
    "page": page.rows,
    "postgres": postgres.rows,
    "memory": memory.rows,
    "stream": stream.rows,
    "soak": soak.rows,
    "kills": kills.rows,
}
USAGE = f"usage: ./dev bench [--quick] [PART…]\nparts: {', '.join(PARTS)}; all of them if none is named"


def main(arguments: list[str]) -> int:
    """Run the benchmarks; the exit code says whether every bar was met."""
    chosen = [argument for argument in arguments if argument != "--quick"]
    if not set(chosen) <= set(PARTS):
        print(USAGE, file=sys.stderr)
        return 2
    effort = QUICK if "--quick" in arguments else FULL
    found: list[Row] = []
    for name in chosen or PARTS:
        for row in measured(name, effort):
            print(f"{row.what}: {row.figure}", file=sys.stderr, flush=True)
            found.append(row)
    print(table(found))
    return 0 if all(row.within is not False for row in found) else 1


def measured(name: str, effort: Effort) -> Iterator[Row]:
    """The rows of one part; one that breaks off says so in a row, and the other parts go on."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        world = World(Path(folder))
        try:
            yield from PARTS[name](world, effort)
        except Exception as error:  # noqa: BLE001 - the edge of a part: hours of other figures must not be lost
            traceback.print_exc()
            line = (str(error).splitlines() or [""])[0]
            yield Row(f"{name}: broke off", f"{type(error).__name__}: {line}", "", within=False)
        finally:
            world.stop_server()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
