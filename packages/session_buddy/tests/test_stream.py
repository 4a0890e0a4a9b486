"""The stream of server-sent events: what each client is told, what becomes of who lags, and how it ends."""

import asyncio
import json
import signal
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from oneiric.transport import Endpoint, call_tool, page
from session_buddy import __version__
from session_buddy.access.tokens import issue
from session_buddy.errors import StoreError
from session_buddy.history.changes import Change
from session_buddy.host.server_file import ServerInfo
from session_buddy.intake.presence import Presence
from session_buddy.intake.writer import Writer
from session_buddy.server.answers import Answers
from session_buddy.server.hub import MOST_BYTES, MOST_STREAMS, MOST_WAITING, Hub, Stream, messages
from session_buddy.store import Store, open_store
from tests.engines import DuckDBFile, PostgresDatabase
from tests.samples import arrival, end_event, session_id_of, start_event
from tests.serverprocess import ServerProcess, environ_in

SECRET = "tests-only-" + uuid.uuid4().hex
STREAM = "/api/v1/stream"
KEEP_ALIVE = b":\n\n"
MISSED = b"event: missed\ndata: {}\n\n"

Told = tuple[str, dict[str, Any]]


# --- the hub


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(open_store(DuckDBFile(tmp_path / "one.duckdb").url)) as store:
        yield store


@pytest.fixture
def answers(store: Store) -> Iterator[Answers]:
    presence = Presence()
    with Writer(store, presence) as writer:
        yield Answers(store, writer, presence, clock=time.monotonic, now=lambda: datetime.now(UTC))


async def opened(hub: Hub) -> Stream:
    return await hub.open(lambda: True, lambda: None, "ann")


async def stored(store: Store) -> str:
    """Store a start; its session's id."""
    raw = start_event()
    await asyncio.to_thread(store.ingest, [arrival(raw)])
    return session_id_of(raw)


def test_who_lags_gets_one_word_for_all_that_waited(answers: Answers, store: Store) -> None:
    async def follow() -> list[bytes]:
        hub = Hub(answers, pace=0.0)
        reader, deaf = await opened(hub), await opened(hub)
        assert (await anext(reader)).startswith(b"retry: 3000\nevent: hello\ndata: {")
        told = []
        for _ in range(MOST_WAITING + 2):
            session_id = await stored(store)
            told.append(await anext(reader))
            assert session_id.encode() in told[-1]
        late = [await anext(deaf) for _ in range(3)]
        assert late == [MISSED, *told[-2:]]
        hub.close()
        return [message async for message in deaf]

    assert asyncio.run(follow()) == []


def test_where_nobody_listens_nobody_reads(answers: Answers, store: Store) -> None:
    async def follow() -> None:
        hub = Hub(answers, keep_alive=0.05)
        first, second = await asyncio.gather(opened(hub), opened(hub))
        hub.leave(first)
        assert repr(hub) == "<Hub(streams=1, runs=True)>"
        hub.leave(second)
        assert repr(hub) == "<Hub(streams=0, runs=False)>"
        while repr(answers.feed) != "<Feed(waiting=0)>":  # noqa: ASYNC110 - a feed tells nobody who left
            await asyncio.sleep(0)
        await stored(store)
        # What happened meanwhile is read by who comes, from the history.
        third = await opened(hub)
        assert [await anext(third) for _ in range(3)][1:] == [KEEP_ALIVE, KEEP_ALIVE]

    asyncio.run(follow())


def test_a_stream_outlives_a_database_that_cannot_be_read(answers: Answers, store: Store) -> None:
    async def follow() -> None:
        hub = Hub(answers, keep_alive=0.05)
        stream = await opened(hub)
        store.close()
        assert [await anext(stream) for _ in range(3)][1:] == [KEEP_ALIVE, KEEP_ALIVE]
        hub.close()
        with pytest.raises(StoreError, match="going down"):
            await opened(hub)

    asyncio.run(follow())


def test_streams_end_where_the_hub_fails_and_the_next_begins_anew(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    broken = True

    def now() -> datetime:
        if broken:
            raise OverflowError("no such time")
        return datetime.now(UTC)

    async def follow(answers: Answers) -> None:
        nonlocal broken
        hub = Hub(answers)
        stream = await opened(hub)
        told = [message async for message in stream]
        assert len(told) == 1
        hub.leave(stream)
        broken = False
        again = await opened(hub)
        await anext(again)
        session_id = await stored(store)
        assert session_id.encode() in await anext(again)

    presence = Presence()
    with Writer(store, presence) as writer:
        asyncio.run(follow(Answers(store, writer, presence, clock=time.monotonic, now=now)))
    assert "all streams end; their clients connect again" in caplog.text


def test_messages_hold_so_many_changes_and_so_many_bytes() -> None:
    def sizes(count: int, width: int) -> list[tuple[int, bool]]:
        changes = [
            Change(change="start", session={"session_id": str(n), "x": "y" * width}) for n in range(count)
        ]
        read = [json.loads(message.split(b"\n")[1].removeprefix(b"data: ")) for message in messages(changes)]
        assert [one for message in read for one in message["changes"]] == changes
        return [(len(message["changes"]), message["more"]) for message in read]

    assert sizes(100, 1) == [(100, False)]
    assert sizes(250, 1) == [(100, True), (100, True), (50, False)]
    assert sizes(5, MOST_BYTES // 2 - 100) == [(2, True), (2, True), (1, False)]
    assert sizes(2, MOST_BYTES) == [(1, True), (1, False)]


# --- a server


@pytest.fixture(scope="module")
def info(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerInfo]:
    with ServerProcess(environ_in(tmp_path_factory.mktemp("home"), SESSION_BUDDY_SECRET=SECRET)) as server:
        yield server.until_up()


@contextmanager
def streaming(info: ServerInfo, token: str | None = None) -> Iterator[Iterator[Told]]:
    """What a client is told, through the socket, or with a token over TCP; the first is taken to be hello."""
    transport = None if token else httpx.HTTPTransport(uds=str(info.socket))
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    with (
        httpx.Client(base_url=info.url.removesuffix("/mcp"), transport=transport, timeout=60) as client,
        client.stream("GET", STREAM, headers=headers) as answer,
    ):
        assert answer.status_code == HTTPStatus.OK, answer.read()
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert answer.headers["cache-control"] == "no-store"
        events = told_by(answer.iter_lines())
        name, said = next(events)
        assert (name, said["version"]) == ("hello", __version__)
        assert said["instance"] == instance_of(info)
        yield events


def told_by(lines: Iterator[str]) -> Iterator[Told]:
    """Events as a browser reads them; comments are none."""
    event: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(": ")
        if line:
            event[name] = value
        elif "data" in event:
            yield event["event"], json.loads(event["data"])
            event = {}


def instance_of(info: ServerInfo) -> str:
    return str(call_tool(info.endpoint, "health_check", {})["server_instance"])


def start(info: ServerInfo, **changes: Any) -> str:
    raw = {**start_event(**changes), "timestamp": datetime.now(UTC).isoformat()}
    return str(call_tool(info.endpoint, "track_session_start", raw)["session_id"])


def end(info: ServerInfo, session_id: str) -> None:
    call_tool(info.endpoint, "track_events", {"events": [end_event(session_id)]})


def until(events: Iterator[Told], change: str, session_id: str) -> list[Told]:
    """What is told until a session starts or ends, with that."""
    told = []
    for event in events:
        told.append(event)
        if (change, session_id) in [
            (one["change"], one["session"]["session_id"]) for one in event[1].get("changes", [])
        ]:
            return told
    raise AssertionError(f"it ended before {change} of {session_id}: {told}")


def test_all_clients_are_told_the_same_of_a_start_and_an_end(info: ServerInfo) -> None:
    reader = issue(SECRET, "ann", ["read"], 600)
    with ExitStack() as stack:
        clients = [stack.enter_context(streaming(info, token)) for token in (None, reader, reader)]
        session_id = start(info)
        started = [until(events, "start", session_id) for events in clients]
        end(info, session_id)
        ended = [until(events, "end", session_id) for events in clients]
    assert started[0] == started[1] == started[2]
    assert ended[0] == ended[1] == ended[2]
    ((name, said),) = started[0]
    assert (name, said["more"]) == ("changes", False)
    assert said["changes"][0]["session"]["status"] == "active"
    assert ended[0][0][1]["changes"][0]["session"]["status"] == "ended"


def test_a_client_that_only_looks_takes_no_place_and_one_too_many_is_told(info: ServerInfo) -> None:
    token = issue(SECRET, "ann", ["read"], 600)
    known = {"Authorization": f"Bearer {token}"}
    address = info.url.removesuffix("/mcp") + STREAM
    assert httpx.head(address, headers=known).status_code == HTTPStatus.OK
    with ExitStack() as stack:
        for _ in range(MOST_STREAMS - 8):
            listening(info, stack)
        # One subject leaves some to others.
        with pytest.raises(AssertionError), streaming(info):
            pass
        for _ in range(8):
            stack.enter_context(streaming(info, token))
        answer = httpx.get(address, headers=known)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert answer.json()["detail"].startswith("64 streams are open")
        assert start(info)
    # Their places are free once the server has seen them leave.
    while True:
        with suppress(AssertionError), streaming(info):
            break


def listening(info: ServerInfo, stack: ExitStack) -> socket.socket:
    """A client that has read hello, and reads no more by itself."""
    client = stack.enter_context(socket.socket(socket.AF_UNIX))
    client.settimeout(60)
    client.connect(str(info.socket))
    client.sendall(f"GET {STREAM} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    read = b""
    while b"event: hello" not in read:
        read += client.recv(10_000)
    return client


def blocked(info: ServerInfo, stack: ExitStack) -> socket.socket:
    """A client that does not read, whose connection takes no more."""
    deaf = listening(info, stack)
    for _ in range(2):
        events = [start_event(metadata={"x": "y" * 16_000}) for _ in range(40)]
        call_tool(info.endpoint, "track_events", {"events": events})
    return deaf


def test_who_does_not_read_is_told_that_something_was_missed(info: ServerInfo) -> None:
    with ExitStack() as stack, streaming(info) as events:
        deaf = blocked(info, stack)
        # The deaf one had as many messages as the other.
        for _ in range(MOST_WAITING + 4):
            until(events, "start", start(info))
        read = b""
        while MISSED not in read:
            more = deaf.recv(1_000_000)
            assert more
            read += more
        last = start(info).encode()
        while last not in read:
            read += deaf.recv(1_000_000)
        assert read.count(MISSED) == 1


def test_a_revoked_token_ends_its_stream(server: ServerInfo, cli: Callable[..., Any]) -> None:
    token = cli("token", "create", "--subject", "web1", "--scope", "read").stdout.strip()
    remote = Endpoint(url=server.url, token=token)
    with streaming(server, token) as events:
        until(events, "start", start(server))
        cli("token", "revoke", "--subject", "web1", "--yes")
        while page(remote, "/api/v1/changes")[0] == HTTPStatus.OK:
            pass
        start(server)
        assert list(events) == []


def test_clients_come_back_to_a_server_that_was_killed_and_one_that_stops_waits_for_none(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    environ = environ_in(tmp_path_factory.mktemp("home"))
    with ServerProcess(environ) as first, streaming(first.until_up()) as events:
        first.stop(signal.SIGKILL)
        with pytest.raises(httpx.RemoteProtocolError):
            list(events)
    with ServerProcess(environ) as second, ExitStack() as stack:
        info = second.until_up()
        events = stack.enter_context(streaming(info))
        deaf = blocked(info, stack)
        until(events, "start", start(info))
        assert second.stop() == 0
        assert list(events) == []
        with suppress(ConnectionResetError):
            while deaf.recv(1_000_000):
                pass
    said = Path(info.log).read_text()
    assert "server stopped" in said
    assert "level=error" not in said


def test_what_one_server_takes_in_another_tells(
    tmp_path_factory: pytest.TempPathFactory, database: PostgresDatabase
) -> None:
    with ExitStack() as stack:
        homes = [tmp_path_factory.mktemp("home") for _ in range(2)]
        servers = (
            ServerProcess(environ_in(home, SESSION_BUDDY_STORAGE_URL=database.url.whole)) for home in homes
        )
        taking, telling = (stack.enter_context(server).until_up() for server in servers)
        with streaming(telling) as events:
            session_id = start(taking)
            until(events, "start", session_id)
            end(taking, session_id)
            until(events, "end", session_id)
