"""MCP clients that we did not write, and a listener that is not ours."""

import asyncio
import json
import socket
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import fastmcp
import pytest
from fastmcp.client.transports import StdioTransport, StreamableHttpTransport
from mcp import MCPError

from oneiric.testing import start_event
from tests.world import PROGRAMS, World

TOOLS = {
    "track_session_start",
    "track_session_end",
    "track_events",
    "list_sessions",
    "get_session",
    "session_statistics",
    "session_timeline",
    "end_session",
    "health_check",
}
ERAS = ["2026-07-28", "legacy"]


def start_arguments(number: int) -> dict[str, Any]:
    return start_event(event_id=f"1b9d{number:04x}-bbfd-4b2d-9b5d-ab8dfbbd4bed")


async def track(client: Any, number: int) -> dict[str, Any]:
    """List the tools, start and end a session; returns the server's answer to the end."""
    listed = await client.list_tools()
    names = {tool.name for tool in getattr(listed, "tools", listed)}
    assert names >= TOOLS
    started = await client.call_tool("track_session_start", start_arguments(number))
    session_id = content(started)["session_id"]
    ended = await client.call_tool(
        "track_session_end", {"session_id": session_id, "timestamp": "2026-01-02T04:00:00Z"}
    )
    return content(ended)


def content(result: Any) -> dict[str, Any]:
    """The structured content, however a client's library calls it."""
    found = getattr(result, "structured_content", None) or result.structuredContent
    return dict(found)


def fastmcp_client(world: World, token: str | None, era: str) -> fastmcp.Client[Any]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    transport = StreamableHttpTransport(f"http://127.0.0.1:{world.port}/mcp", headers=headers)
    return fastmcp.Client(transport, mode=era)


@asynccontextmanager
async def sdk_client(world: World, token: str | None, era: str) -> AsyncIterator[Any]:
    import httpx2
    import mcp
    from mcp.client.streamable_http import streamable_http_client

    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with httpx2.AsyncClient(headers=headers) as http:
        transport = streamable_http_client(f"http://127.0.0.1:{world.port}/mcp", http_client=http)
        async with mcp.Client(transport, mode=era) as client:
            yield client


CLIENTS = pytest.mark.parametrize("client", [fastmcp_client, sdk_client])


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A user with a server and, in ``SESSION_BUDDY_TOKEN``, a token: for all who need no more than that."""
    world = World(tmp_path_factory.mktemp("served"), forks=True)
    world.start_server()
    world.environ["SESSION_BUDDY_TOKEN"] = world.said("session-buddy token show").strip()
    yield world
    world.stop_server()


@CLIENTS
@pytest.mark.parametrize("era", ERAS)
def test_a_client_with_a_token_lists_the_tools_and_tracks_a_session(
    served: World, client: Any, era: str
) -> None:
    number = 1 + (client is sdk_client) + 2 * ERAS.index(era)

    async def main() -> dict[str, Any]:
        async with client(served, served.environ["SESSION_BUDDY_TOKEN"], era) as connected:
            return await track(connected, number)

    assert asyncio.run(main())["status"] == "ended"
    (session,) = [one for one in served.sessions() if one["session_id"].endswith(f"1b9d{number:04x}")]
    assert (session["component"], session["status"]) == ("shop", "ended")


@CLIENTS
@pytest.mark.parametrize("era", ERAS)
def test_a_client_without_a_token_is_refused(served: World, client: Any, era: str) -> None:
    before = served.sessions()

    async def main() -> None:
        async with client(served, None, era) as connected:
            await track(connected, 99)

    # Each library has an error of its own, which hides the status; the next test asks for it.
    with pytest.raises((MCPError, ExceptionGroup)):
        asyncio.run(main())
    assert served.sessions() == before


@pytest.mark.parametrize(
    "header", [{}, {"Authorization": "Bearer nonsense"}, {"Authorization": "Basic YTpi"}]
)
def test_a_call_without_a_good_token_is_unauthorized(served: World, header: dict[str, str]) -> None:
    request = urllib.request.Request(
        f"http://127.0.0.1:{served.port}/mcp", b"{}", {"Content-Type": "application/json", **header}
    )
    assert status_of(request) == 401


def status_of(request: urllib.request.Request) -> int:
    try:
        with urllib.request.urlopen(request) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


@pytest.mark.parametrize("era", ERAS)
def test_the_stdio_bridge_serves_two_agents_at_once_beside_the_command_line(world: World, era: str) -> None:
    def bridge() -> fastmcp.Client[Any]:
        command = str(PROGRAMS / "session-buddy")
        arguments = ["mcp", "start", "--transport", "stdio"]
        transport = StdioTransport(command, arguments, env=world.environ, cwd=str(world.checkout))
        return fastmcp.Client(transport, mode=era)

    async def main() -> None:
        async with bridge() as one, bridge() as two:
            assert [answer["status"] for answer in await asyncio.gather(track(one, 1), track(two, 2))] == [
                "ended",
                "ended",
            ]
            listed = await asyncio.to_thread(world.sessions)
            assert len(listed) == 2

    asyncio.run(main())


def test_a_strangers_listener_on_the_port_hears_nothing_from_a_shell(world: World) -> None:
    heard: list[bytes] = []
    listener = socket.create_server(("127.0.0.1", world.port))
    listener.settimeout(30)

    def listen() -> None:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        heard.append(connection.recv(65536))

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    world.environ["SESSION_BUDDY_TOKEN"] = "must-stay-here"
    code = (
        "import oneiric; e = oneiric.install('shop'); e.wait_connected(5); e.shutdown(); print(e.connected)"
    )
    assert world.run(sys.executable, "-c", code).stdout.strip() == "False"
    assert [session["component"] for session in world.sessions()] == ["shop"]
    listener.shutdown(socket.SHUT_RDWR)
    thread.join()
    listener.close()
    assert heard == []


def test_a_malformed_event_is_a_tool_error_that_names_the_field(served: World) -> None:
    before, token = served.sessions(), served.environ["SESSION_BUDDY_TOKEN"]

    async def main() -> str:
        async with fastmcp_client(served, token, "2026-07-28") as client:
            answer = await client.call_tool("track_session_start", start_event(pid=0), raise_on_error=False)
            assert answer.is_error
            return str(answer.content[0].text)

    message = asyncio.run(main())
    assert message.startswith("pid: 0 is not valid")
    assert "\n" not in message
    assert served.sessions() == before


def test_a_stranger_sees_only_up_or_down_and_a_forged_host_nothing(served: World) -> None:
    address = f"http://127.0.0.1:{served.port}/health"
    with urllib.request.urlopen(address) as answer:
        assert json.load(answer) == {"status": "ok"}
    token = served.environ["SESSION_BUDDY_TOKEN"]
    known = urllib.request.Request(address, headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(known) as answer:
        assert set(json.load(answer)) >= {"version", "database", "uptime_seconds", "live_sessions"}
    forged = urllib.request.Request(address, headers={"Host": "evil.example"})
    assert status_of(forged) == 421
