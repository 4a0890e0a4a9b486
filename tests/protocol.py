"""The server as clients in another language see it: the protocol's own conformance runner, and its Inspector.

``./dev protocol`` installs both, with a Node that they run on, from the package registry, asks a server of
its own, and writes docs/protocol.md; it fails where anything fails that is not named here with a reason.
"""

import asyncio
import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from oneiric.testing import start_event
from oneiric.transport import call_tool
from tests.world import ROOT, World

REVISION: Final = "2026-07-28"
PACKAGES: Final = {
    "node": "22.23.3",
    "@modelcontextprotocol/conformance": "0.2.0-alpha.12",
    "@modelcontextprotocol/inspector": "2.12.0",
}
FOLDER: Final = ROOT / ".tools" / "protocol"
_MODULES: Final = FOLDER / "node_modules"
_CONFORMANCE: Final = _MODULES / "@modelcontextprotocol" / "conformance" / "dist" / "index.js"
_INSPECTOR: Final = (
    _MODULES / "@modelcontextprotocol" / "inspector" / "clients" / "launcher" / "build" / "index.js"
)

_FIXTURE: Final = "it asks for a tool, prompt or resource of the runner's own server"
_NO_FILES: Final = "a history has no pictures, sounds or files to give"
_NO_SAMPLING: Final = "no tool asks the client for a model, or for its folders"
_OPTIONAL: Final = "an optional extension that is not offered"
# Checks that cannot pass, each with its reason; those of other scenarios all have to.
NOT_APPLICABLE: Final[dict[str, str]] = {
    "sep-2575-server-rejects-undeclared-capability": _FIXTURE,
    "sep-2575-missing-capability-http-400": _FIXTURE,
    "completion-complete": _FIXTURE,
    "tools-call-image": _NO_FILES,
    "tools-call-audio": _NO_FILES,
    "tools-call-embedded-resource": _NO_FILES,
    "tools-call-mixed-content": _NO_FILES,
    "tools-call-with-progress": "no tool takes long enough to tell how far it is",
    "resources-read-text": _FIXTURE,
    "resources-read-binary": _FIXTURE,
    "resources-templates-read": _FIXTURE,
    "prompts-get-simple": _FIXTURE,
    "prompts-get-with-args": _FIXTURE,
    "prompts-get-embedded-resource": _FIXTURE,
    "prompts-get-with-image": _NO_FILES,
    "json-schema-2020-12-tool-found": _FIXTURE,
    "sep-2322-elicitation-incomplete": _FIXTURE,
    "sep-2322-sampling-incomplete": _NO_SAMPLING,
    "sep-2322-list-roots-incomplete": _NO_SAMPLING,
    "sep-2322-request-state-incomplete": _FIXTURE,
    "sep-2322-multiple-inputs-incomplete": _FIXTURE,
    "sep-2322-multi-round-r1": _FIXTURE,
    "sep-2322-non-tool-incomplete": _FIXTURE,
    "sep-2322-result-type-included": _FIXTURE,
    "sep-2322-reject-tampered-state": _FIXTURE,
    "sep-2322-respect-client-capabilities": _NO_SAMPLING,
}
_OPTIONAL_SCENARIOS: Final = ("tasks-", "http-custom-header-", "sep-2640-")


class Check(NamedTuple):
    """What the runner found of one check."""

    scenario: str
    name: str
    failed: bool
    error: str

    @property
    def reason(self) -> str | None:
        """Why it need not pass, if it need not."""
        if self.scenario.startswith(_OPTIONAL_SCENARIOS):
            return _OPTIONAL
        return NOT_APPLICABLE.get(self.name)


def main(target: Path) -> int:
    """Run both, write the page, return the exit code."""
    install()
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        world.start_server()
        try:
            token = world.run("session-buddy", "token", "show").stdout.strip()
            session = call_tool(world.endpoint, "track_session_start", start_event())["session_id"]
            with bearing(token, world.port) as port:
                checks = list(conformance(port, Path(folder, "checks")))
            asked = [Asked.of(arguments, world.port, token) for arguments in questions(str(session))]
        finally:
            world.stop_server()
    unexpected = [one for one in checks if one.failed and not one.reason]
    target.write_text(page(checks, asked), encoding="utf-8")
    for one in unexpected:
        print(f"{one.scenario}: {one.name} failed: {one.error}")
    for answer in asked:
        if not answer.as_expected:
            print(f"inspector {' '.join(answer.arguments)}: {answer.said}")
    passed = sum(not one.failed for one in checks)
    print(f"{passed} checks passed, {len(checks) - passed} not: see {target}")
    return 1 if unexpected or not all(answer.as_expected for answer in asked) else 0


def install() -> None:
    """Both programs, and a Node for them, where they are not there yet."""
    wanted = [f"{name}@{version}" for name, version in PACKAGES.items()]
    done = FOLDER / "installed"
    if done.exists() and done.read_text() == " ".join(wanted):
        return
    FOLDER.mkdir(parents=True, exist_ok=True)
    subprocess.run(["npm", "install", "--prefix", FOLDER, "--no-audit", "--no-fund", *wanted], check=True)
    done.write_text(" ".join(wanted))


def _node(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [str(_MODULES / "node" / "bin" / "node"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=600, check=False, **options)


# --- the conformance runner


def conformance(port: int, folder: Path) -> Iterator[Check]:
    """All checks that a server of this revision has to pass."""
    url = f"http://127.0.0.1:{port}/mcp"
    _node(_CONFORMANCE, "server", "--url", url, "--requirements", REVISION, "-o", folder)
    for file in sorted(folder.glob("*/checks.json")):
        scenario = file.parent.name.removeprefix("server-").partition("-20")[0]
        for found in json.loads(file.read_text()):
            if found["status"] in ("SUCCESS", "FAILURE"):
                failed = found["status"] == "FAILURE"
                yield Check(scenario, found["id"], failed, str(found.get("errorMessage", "")))


@contextmanager
def bearing(token: str, server: int) -> Iterator[int]:
    """A port that gives each request this token: the runner has no option for one."""
    ready, loop = threading.Event(), asyncio.new_event_loop()
    ports: list[int] = []

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        writer.close()

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first, _, rest = (await reader.readuntil(b"\r\n\r\n")).partition(b"\r\n")
        kept = [line for line in rest.split(b"\r\n") if not line.lower().startswith(b"connection:")]
        named = b"\r\n".join(kept).replace(b":%d" % ports[0], b":%d" % server)
        above, below = await asyncio.open_connection("127.0.0.1", server)
        below.write(
            b"%b\r\nAuthorization: Bearer %b\r\nConnection: close\r\n%b" % (first, token.encode(), named)
        )
        await asyncio.gather(pump(reader, below), pump(above, writer))

    async def serve() -> None:
        listening = await asyncio.start_server(forward, "127.0.0.1", 0)
        ports.append(listening.sockets[0].getsockname()[1])
        ready.set()

    threading.Thread(target=loop.run_forever, daemon=True).start()
    asyncio.run_coroutine_threadsafe(serve(), loop)
    ready.wait()
    try:
        yield ports[0]
    finally:
        loop.call_soon_threadsafe(loop.stop)


# --- the Inspector


class Asked(NamedTuple):
    """What the Inspector's command line was asked, and what it said.

    Attributes:
        arguments: its own, without address and token.
        refused: whether an error is what is expected.
        code: its exit code.
        said: what it printed.
    """

    arguments: Sequence[str]
    refused: bool
    code: int
    said: str

    @classmethod
    def of(cls, question: tuple[bool, Sequence[str]], port: int, token: str) -> "Asked":
        """Ask a server."""
        refused, arguments = question
        url = f"http://127.0.0.1:{port}/mcp"
        header = f"Authorization: Bearer {token}"
        options = ["--cli", url, "--transport", "http", "--header", header, *arguments]
        done = _node(_INSPECTOR, *options)
        return cls(arguments, refused, done.returncode, (done.stdout + done.stderr).strip())

    @property
    def as_expected(self) -> bool:
        """Whether it answered, or was refused, as it should."""
        failed = self.code != 0 or '"isError": true' in self.said
        return failed == self.refused


def questions(session_id: str) -> list[tuple[bool, Sequence[str]]]:
    """Each tool, resource and prompt, and each way to be refused."""

    def call(tool: str, *pairs: str, refused: bool = False) -> tuple[bool, Sequence[str]]:
        arguments = [part for pair in pairs for part in ("--tool-arg", pair)]
        return refused, ["--method", "tools/call", "--tool-name", tool, *arguments]

    now = "2026-01-02T04:00:00Z"
    event = json.dumps([start_event(event_id="1b9d0002-bbfd-4b2d-9b5d-ab8dfbbd4bed")])
    # In quotes a text is one, whatever it looks like.
    start = [f"{name}={json.dumps(value)}" for name, value in start_event().items()]
    return [
        (False, ["--method", "tools/list", "--strict"]),
        (False, ["--method", "resources/list"]),
        (False, ["--method", "resources/templates/list"]),
        (False, ["--method", "prompts/list"]),
        call("health_check"),
        call("list_sessions", "query=status:active", "limit=3"),
        call("get_session", f"session_id={session_id}", "details=true"),
        call("session_statistics", "metric=sessions", "period=all", "by=person"),
        call("session_timeline", "at=2026-01-02 03:00..2026-01-02 05:00"),
        # It cannot ask anybody, so it is told the command instead.
        call("end_session", f"session_id={session_id}", "reason=it hangs", refused=True),
        (False, ["--method", "resources/read", "--uri", "sessions://active"]),
        (False, ["--method", "resources/read", "--uri", f"session://{session_id}"]),
        (True, ["--method", "resources/read", "--uri", "session://nothing"]),
        (False, ["--method", "prompts/get", "--prompt-name", "access_review"]),
        (
            False,
            ["--method", "prompts/get", "--prompt-name", "incident_timeline", "--prompt-args", "time=2h ago"],
        ),
        (True, ["--method", "prompts/get", "--prompt-name", "no_such_prompt"]),
        call("track_session_start", *start),
        call("track_session_end", f"session_id={session_id}", f"timestamp={now}"),
        call("track_events", f"events={event}"),
        call("get_session", "session_id=nothing", refused=True),
        call("list_sessions", "query=usr:ada", refused=True),
        call("list_sessions", "colour=red", refused=True),
        call("session_statistics", "metric=sums", refused=True),
        call("no_such_tool", refused=True),
    ]


# --- the page


_HEAD = f"""# The protocol

The server as programs in another language see it, at revision {REVISION} of the Model Context Protocol.
`./dev protocol` runs the protocol's own conformance runner and its Inspector (TypeScript, from the package
registry) against a server of its own, and writes this page; it fails where a check fails that is not named
here with a reason.
"""


def page(checks: Sequence[Check], asked: Sequence[Asked]) -> str:
    """What was found."""
    versions = ", ".join(f"{name} {version}" for name, version in PACKAGES.items())
    scenarios = sorted({one.scenario for one in checks})
    lines = [_HEAD, f"Versions: {versions}.\n", "## Conformance\n"]
    lines += ["| scenario | passed | not applicable |", "|---|---|---|"]
    for scenario in scenarios:
        found = [one for one in checks if one.scenario == scenario]
        passed = sum(not one.failed for one in found)
        reasons = {one.reason or f"**{one.name} failed**" for one in found if one.failed}
        lines.append(f"| {scenario} | {passed} of {len(found)} | {'; '.join(sorted(reasons))} |")
    lines += ["\n## The Inspector\n", "| asked | answer |", "|---|---|"]
    for one in asked:
        answer = "refused" if one.refused else "answered"
        shown = " ".join(one.arguments).replace("|", "\\|")
        shown = shown if len(shown) <= _LONG else f"{shown[:_LONG]}…"
        lines.append(f"| `{shown}` | {answer if one.as_expected else '**not as expected**'} |")
    return "\n".join(lines) + "\n"


_LONG: Final = 110

if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
