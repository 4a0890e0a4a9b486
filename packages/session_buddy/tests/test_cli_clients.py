"""``mcp config``: printed, and put into each client's own file, as a client then uses it."""

import asyncio
import json
import os
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from oneiric.transport import CallRefused, Endpoint, call_tool
from session_buddy.host.server_file import ServerInfo
from tests import forkserver

Cli = Callable[..., subprocess.CompletedProcess[str]]
FILES = {
    "claude": (".config/Claude/claude_desktop_config.json", "mcpServers"),
    "claude-code": (".claude.json", "mcpServers"),
    "cursor": (".cursor/mcp.json", "mcpServers"),
    "vscode": (".config/Code/User/mcp.json", "servers"),
}
pytestmark = pytest.mark.usefixtures("home")


def config(cli: Cli, client: str, *options: str) -> subprocess.CompletedProcess[str]:
    return cli("mcp", "config", "--client", client, *options)


@pytest.mark.parametrize("client", FILES)
def test_it_is_put_beside_what_a_client_has(cli: Cli, home: Path, client: str) -> None:
    name, section = FILES[client]
    file = home / name
    file.parent.mkdir(parents=True, exist_ok=True)
    other = {"command": "npx", "args": ["é"], "env": {}}
    before = {"theme": "dark", section: {"other": other}, "n": [1, 2.5, None]}
    (home / "kept.json").write_text(json.dumps(before, indent="\t", ensure_ascii=False) + "\n")
    (home / "kept.json").chmod(0o640)
    file.symlink_to(home / "kept.json")
    done = config(cli, client, "--write")
    assert (done.returncode, done.stdout) == (0, f"session-buddy is in {file}\n")
    after = json.loads(file.read_text())
    entry = after[section].pop("session-buddy")
    assert after == before
    assert list(after) == list(before)
    assert file.is_symlink()
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert '\n\t"theme"' in file.read_text()
    assert "é" in file.read_text()
    assert entry["args"][-4:] == ["mcp", "start", "--transport", "stdio"]
    assert Path(entry["command"]).is_absolute()
    assert os.access(entry["command"], os.X_OK)
    assert entry["env"]["XDG_RUNTIME_DIR"] == os.environ["XDG_RUNTIME_DIR"]
    assert entry.get("type") == {"claude-code": "stdio", "vscode": "stdio"}.get(client)
    assert json.loads(config(cli, client).stdout) == {section: {"session-buddy": entry}}
    written = file.read_text()
    assert config(cli, client, "--write").stdout == f"session-buddy is in {file} already\n"
    assert file.read_text() == written


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{\n  // mine\n  "servers": {}\n}', "it is no plain JSON (Expecting property name"),
        ('{"servers": {}, "servers": {"x": {}}}', "it is no plain JSON (a name stands twice in an object)"),
        ('{"servers": []}', "its servers is no object"),
        ("[]", "its servers is no object"),
        ('{"n": 1e999}', "it is no plain JSON (Out of range float values"),
        ("[" * 100_000, "it is no plain JSON ("),
    ],
    ids=lambda text: text[:20],
)
def test_a_file_that_cannot_be_kept_is_left_alone(cli: Cli, home: Path, text: str, said: str) -> None:
    file = home / FILES["vscode"][0]
    file.parent.mkdir(parents=True)
    file.write_text(text)
    done = config(cli, "vscode", "--write")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.startswith(f"Error: {file} was left as it is: {said}")
    assert file.read_text() == text
    assert list(file.parent.iterdir()) == [file]


def test_what_is_no_file_is_left_alone(cli: Cli, home: Path) -> None:
    os.mkfifo(home / ".claude.json")
    done = config(cli, "claude-code", "--write")
    assert (done.returncode, done.stderr) == (
        1,
        f"Error: {home / '.claude.json'} was left as it is: it is no regular file\n",
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["claude", "--transport", "http"],
            "transport: 'http' is not valid: the file of claude takes commands",
        ),
        (["generic", "--write"], "write: 'generic' is not valid: where it keeps its servers is not known"),
        (["curser"], "'curser' is not one of 'claude'"),
    ],
)
def test_what_is_mistyped(cli: Cli, words: list[str], said: str) -> None:
    done = config(cli, *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    missing = cli("mcp", "config")
    assert missing.stderr.startswith(
        "Error: Missing option '--client'. Choose from: claude, claude-code, cursor"
    )


def test_secrets_of_the_environment_stay_there(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SESSION_BUDDY_SECRET", "x" * 40)
    monkeypatch.setenv("SESSION_BUDDY_PORT", "9123")
    done = config(cli, "generic")
    assert "x" * 40 not in done.stdout
    assert done.stderr == (
        "SESSION_BUDDY_SECRET is left out, since it has a secret: put that into your settings file\n"
    )
    assert json.loads(done.stdout)["mcpServers"]["session-buddy"]["env"]["SESSION_BUDDY_PORT"] == "9123"


@pytest.mark.sampled
def test_a_client_that_is_told_so_reaches_the_server(cli: Cli, server: ServerInfo, home: Path) -> None:
    from fastmcp import Client
    from fastmcp.client.transports import StdioTransport

    file = home / FILES["vscode"][0]
    file.parent.mkdir(parents=True)
    file.write_text("{}")
    file.chmod(0o640)
    done = config(cli, "vscode", "--transport", "http", "--write")
    assert (done.returncode, f"has a token now: chmod 600 {file}\n" in done.stderr) == (0, True)
    file.unlink()
    done = config(cli, "vscode", "--transport", "http", "--write")
    assert (done.returncode, "chmod" in done.stderr) == (0, False)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    entry = json.loads(file.read_text())["servers"]["session-buddy"]
    assert (entry["type"], entry["url"]) == ("http", server.url)
    reader = Endpoint(url=entry["url"], token=entry["headers"]["Authorization"].removeprefix("Bearer "))
    assert call_tool(reader, "list_sessions", {}, 60)["sessions"] == []
    with pytest.raises(CallRefused, match="needs a token with scope track"):
        call_tool(reader, "track_events", {"events": []}, 60)
    entry = json.loads(config(cli, "generic").stdout)["mcpServers"]["session-buddy"]
    command = [entry["command"], *entry["args"]]
    assert Path(command[0]).exists()
    # A client hands on little else of its environment.
    environ = {"HOME": str(home), "PATH": "/usr/bin", **entry["env"]}

    async def use() -> int:
        transport = StdioTransport(
            forkserver.COMMAND[0], [*forkserver.COMMAND[1:], *entry["args"]], env=environ
        )
        async with Client(transport) as client:
            return len(await client.list_tools())

    assert asyncio.run(use()) == len(call_tool(server.endpoint, "health_check", {}, 60)["tools"])
