"""Run the end-to-end plan on this machine and write what was found, as docs/e2e-report.md."""

import platform
import sys
import tempfile
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.plan import Findings, Plan, Step
from tests.troubles import TROUBLES, Trouble, provoke
from tests.world import ROOT, World

PACKAGES = ("session-buddy", "oneiric", "mahavishnu", "fastmcp", "duckdb", "ipython", "pydantic")

DIFFERENCES = """\
- **`cd` lines** are left out: the plan names folders of one machine. Everything runs in a checkout.
- **475 commands**: the banner counts the commands that there are, so its number is another one.
- **Port 8678**: the run uses a free port, so that it disturbs no server of yours; the commands are the same.
- **`pip install -e …/session-buddy`**: `./dev setup` installs all three packages that way.
"""


def main(target: Path) -> int:
    """Run everything, write ``target``, return the exit code."""
    places = {str(ROOT): "<checkout>"}
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        places |= places_of(world, folder)
        try:
            findings = Plan(world, note=print).run()
        finally:
            world.stop_server()
    troubles = []
    for trouble in TROUBLES:
        print(trouble.problem)
        with tempfile.TemporaryDirectory() as folder:
            world = World(Path(folder))
            places |= places_of(world, folder)
            troubles.append((trouble, provoke(trouble, world)))
    report = render(findings, troubles, datetime.now(UTC))
    target.write_text(without_places(report, places), encoding="utf-8")
    print(f"wrote {target}")
    return 1 if findings.failed or not all(step.passed for _, step in troubles) else 0


def places_of(world: World, folder: str) -> dict[str, str]:
    """Folders of a run, and what a reader calls them."""
    run = world.environ["XDG_RUNTIME_DIR"]
    return {str(world.checkout): "<checkout>", str(world.home): "~", run: "<run>", folder: "<machine>"}


def without_places(report: str, places: dict[str, str]) -> str:
    """A report that speaks of no machine's folders, and has no blanks at line ends."""
    for place in sorted(places, key=len, reverse=True):
        report = report.replace(place, places[place])
    return "\n".join(line.rstrip() for line in report.split("\n"))


def render(findings: Findings, troubles: list[tuple[Trouble, Step]], now: datetime) -> str:
    """The whole plan, filled in."""
    parts = [
        "# Session Tracking End-to-End Integration Test: report",
        f"Written by `./dev report` on {now:%Y-%m-%d %H:%M} UTC: [the plan](test-plan.md), filled in.",
        _environment(),
        "## Test Results",
        *_phases(findings),
        "## Issues Found",
        _issues(findings, troubles),
        "## Troubleshooting",
        *(_trouble(trouble, step) for trouble, step in troubles),
        "## Where this differs from the plan",
        DIFFERENCES.rstrip(),
        "## Conclusion",
        _conclusion(findings, troubles),
    ]
    return "\n\n".join(parts) + "\n"


def _environment() -> str:
    rows = [f"| {name} | {version(name)} |" for name in PACKAGES]
    rows.append(f"| Python | {platform.python_version()} |")
    rows.append(f"| Platform | {platform.system()} {platform.machine()} |")
    return "\n".join(["| what | version |", "|---|---|", *rows])


def _phases(findings: Findings) -> list[str]:
    parts = []
    for phase in dict.fromkeys(step.phase for step in findings.steps):
        steps = findings.of(phase)
        status = "✅ Passed" if all(step.passed for step in steps) else "❌ Failed"
        parts += [f"### {phase}\n**Status**: {status}", *map(_step, steps)]
    return parts


def _step(step: Step) -> str:
    mark = "✅" if step.passed else "❌"
    title = f"{mark} **{step.title}** ({step.seconds:.2f} s)"
    return f"{title}\n\n```console\n$ {step.command}\n{step.seen.strip()}\n```"


def _trouble(trouble: Trouble, step: Step) -> str:
    mark = "✅" if step.passed else "❌"
    return "\n".join(
        [
            f"### Problem: {trouble.problem}",
            f"**Symptoms**: {trouble.symptom}  ",
            f"**Cause**: {trouble.cause}  ",
            f"**Solution**: {trouble.solution}  ",
            f"**Provoked**: {mark} ({step.seconds:.2f} s)\n",
            f"```console\n$ {step.command}\n{step.seen.strip()}\n```",
        ]
    )


def _issues(findings: Findings, troubles: list[tuple[Trouble, Step]]) -> str:
    failed = [*findings.failed, *(step for _, step in troubles if not step.passed)]
    if not failed:
        return "None: every step gave what the plan expects, and every provoked problem its message."
    return "\n".join(f"- **{step.title}** (`{step.command}`), status: open" for step in failed)


def _conclusion(findings: Findings, troubles: list[tuple[Trouble, Step]]) -> str:
    passed = sum(step.passed for step in findings.steps) + sum(step.passed for _, step in troubles)
    total = len(findings.steps) + len(troubles)
    verdict = "✅ All passed" if passed == total else "❌ Not all passed"
    return f"**Overall Status**: {verdict}: {passed} of {total} steps."


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
