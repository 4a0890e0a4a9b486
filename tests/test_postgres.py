"""A server whose history lies on PostgreSQL, while that comes and goes."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGSTOP
from time import monotonic

import psycopg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey as PrivateKey
from cryptography.x509.oid import NameOID

from tests.postgres import EncryptedFront, Postgres, new_folder
from tests.world import PATIENCE, World, eventually

Size = Callable[[int, int], int]

SHELLS = """
import os, sys, time, oneiric
while not os.path.exists(sys.argv[1]):
    with oneiric.track_session("shop") as session:
        session.record(1)
        print(session.id, session.emitter.dropped, flush=True)
        time.sleep(0.1)
"""


@pytest.fixture
def postgres(world: World) -> Iterator[Postgres]:
    """A PostgreSQL server of the test's own; the world's history lies there."""
    folder = new_folder()
    # As somebody may have set it for speed.
    server = Postgres(folder, synchronous_commit="off")
    server.make()
    server.start()
    server.run("CREATE ROLE buddy LOGIN PASSWORD 'geheim'", "CREATE DATABASE history OWNER buddy")
    world.environ["SESSION_BUDDY_STORAGE_URL"] = f"postgresql://buddy:geheim@127.0.0.1:{server.port}/history"
    yield server
    world.stop_server()
    server.end()


def killed(server: Postgres) -> Callable[[], None]:
    server.send(SIGKILL)
    return server.start


def stopped(server: Postgres) -> Callable[[], None]:
    server.send(SIGSTOP)
    return lambda: server.send(SIGCONT)


def shut_down(server: Postgres) -> Callable[[], None]:
    server.stop()
    return server.start


def read_only(server: Postgres) -> Callable[[], None]:
    server.run("ALTER DATABASE history SET default_transaction_read_only = on", _OTHERS)
    return lambda: server.run("ALTER DATABASE history RESET default_transaction_read_only", _OTHERS)


def out_of_connections(server: Postgres) -> Callable[[], None]:
    server.run("ALTER ROLE buddy CONNECTION LIMIT 0", _OTHERS)
    return lambda: server.run("ALTER ROLE buddy CONNECTION LIMIT -1")


def locked_out(server: Postgres) -> Callable[[], None]:
    server.run("ALTER ROLE buddy NOLOGIN", _OTHERS)
    return lambda: server.run("ALTER ROLE buddy LOGIN")


_OTHERS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'buddy'"


@pytest.mark.parametrize(
    "troubles",
    [(killed, read_only), (stopped, locked_out), (shut_down, out_of_connections)],
    ids=lambda troubles: " and ".join(trouble.__name__ for trouble in troubles),
)
def test_whatever_becomes_of_the_database_no_session_is_lost(
    world: World, postgres: Postgres, size: Size, troubles: Sequence[Callable[[Postgres], Callable[[], None]]]
) -> None:
    world.start_server()
    enough = world.home / "enough"
    shells = [
        subprocess.Popen(
            [sys.executable, "-c", SHELLS, str(enough)],
            env=world.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(size(4, 20))
    ]
    try:
        for trouble in troubles:
            mend = trouble(postgres)
            begun = monotonic()
            eventually(lambda: not healthy(world))
            eventually(lambda: monotonic() > begun + size(1, 30))  # noqa: B023 - called here
            said = world.run("session-buddy", "mcp", "status", code=3).stderr
            assert (said.count("\n"), "geheim" in said) == (1, False)
            assert said.startswith(f"Error: database postgresql://buddy@127.0.0.1:{postgres.port}/history ")
            mend()
            eventually(lambda: healthy(world))
    finally:
        enough.touch()
    told = [line.split() for shell in shells for line in shell.communicate(timeout=PATIENCE)[0].splitlines()]
    assert {dropped for _, dropped in told} == {"0"}
    expected = {session for session, _ in told}
    assert len(expected) == len(told)
    assert eventually(lambda: ended(world) == expected)
    with psycopg.connect(postgres.url("history")) as connection:
        events = connection.execute("SELECT count(*), count(DISTINCT event_id) FROM events").fetchall()
    assert events == [(2 * len(expected), 2 * len(expected))]


SHELL = """
import oneiric
with oneiric.track_session("shop") as session:
    session.emitter.wait_connected(30)
    print(session.id)
"""


@pytest.fixture
def other(world: World, tmp_path: Path, postgres: Postgres) -> Iterator[World]:
    """Another user, whose server has its history in the same database."""
    other = World(tmp_path / "other", forks=True)
    other.environ["SESSION_BUDDY_STORAGE_URL"] = postgres.url("history")
    yield other
    other.stop_server()


def test_a_token_is_good_at_every_server_of_a_history(world: World, other: World) -> None:
    world.start_server()
    there = other.start_server()["url"]
    token = world.said("session-buddy token create --subject web1 --scope track --scope read").strip()
    far = {"SESSION_BUDDY_MCP_ENDPOINT": there, "SESSION_BUDDY_TOKEN": token}
    session = world.run(sys.executable, "-c", SHELL, env=world.environ | far).stdout.strip()
    eventually(lambda: ended(world) == {session})
    (seen,) = other.sessions()
    assert (seen["session_id"], seen["reported_by"]) == (session, "web1")


def test_without_a_server_it_is_read_as_it_is(world: World, other: World) -> None:
    said = world.run("session-buddy", "list-sessions", code=1).stderr
    assert said.endswith("holds no history yet; its tables are made by: session-buddy mcp start\n")
    world.start_server()
    session = world.run(sys.executable, "-c", SHELL).stdout.strip()
    eventually(lambda: ended(world) == {session})
    world.stop_server()
    waits = world.run(sys.executable, "-c", SHELL.replace("30", "0")).stdout.strip()
    assert [one["session_id"] for one in world.sessions()] == [waits, session]
    assert "geheim" not in "".join(file.read_text() for file in world.state.rglob("*") if file.is_file())
    other.run(sys.executable, "-c", SHELL.replace("30", "0"))
    looked = other.run("session-buddy", "list-sessions", "--format", "json")
    assert "is only looked at" in looked.stderr
    assert [one["session_id"] for one in json.loads(looked.stdout)] == [waits, session]


def test_what_was_wiped_comes_back_from_the_journals(world: World, postgres: Postgres) -> None:
    world.start_server()
    session = world.run(sys.executable, "-c", SHELL).stdout.strip()
    eventually(lambda: ended(world) == {session})
    world.stop_server()
    postgres.run("DROP TABLE sessions, events, meta, tombstones", database="history")
    world.start_server()
    eventually(lambda: ended(world) == {session})


ELSEWHERE = "postgresql://db.invalid/history"


def test_a_restored_database_gets_back_what_came_after_its_backup(world: World, postgres: Postgres) -> None:
    world.start_server()
    assert world.said("session-buddy replay") == "No journal of this machine holds anything more\n"
    session = world.run(sys.executable, "-c", SHELL).stdout.strip()
    eventually(lambda: ended(world) == {session})
    as_backed_up = ("DELETE FROM events", "DELETE FROM sessions")
    postgres.run(*as_backed_up, database="history")
    assert ended(world) == set()
    said = "Of 2 events that journals of this machine still hold, 2 were missing and are back\n"
    assert world.said("session-buddy replay") == said
    assert ended(world) == {session}
    world.stop_server()
    postgres.run(*as_backed_up, database="history")
    assert world.said("session-buddy replay") == said
    assert world.said("session-buddy replay") == said.replace("2 were", "0 were")
    assert ended(world) == {session}
    refused = world.run(
        "session-buddy", "replay", env=world.environ | {"SESSION_BUDDY_STORAGE_URL": ELSEWHERE}, code=1
    )
    assert refused.stderr.startswith(f"Error: {ELSEWHERE} is only looked at: your own history is ")


@pytest.mark.usefixtures("locked")
def test_an_authority_of_ones_own_a_service_and_a_password_file(world: World, postgres: Postgres) -> None:
    root, certificate, services, passwords = (
        world.home / name for name in ("authority", "certificate", "services", "passwords")
    )
    for path, content in zip((root, certificate), issued(), strict=True):
        path.write_bytes(content)
    passwords.touch(mode=0o600)
    passwords.write_text("localhost:*:history:locked:geheim\n")
    with closing(EncryptedFront(postgres, certificate)) as front:
        services.write_text(
            f"[sessions]\nhost=localhost\nport={front.port}\ndbname=history\nuser=locked\n"
            f"sslmode=verify-full\nsslrootcert={root}\n"
        )
        world.environ |= {"PGSERVICEFILE": str(services), "PGPASSFILE": str(passwords)}
        world.environ["SESSION_BUDDY_STORAGE_URL"] = "postgresql:///?service=sessions"
        world.start_server()
        session = world.run(sys.executable, "-c", SHELL).stdout.strip()
        eventually(lambda: ended(world) == {session})
        world.stop_server()
        root.write_bytes(issued()[0])
        refused = world.run("session-buddy", "mcp", "start", code=1).stderr
    assert refused.count("\n") == 1
    assert "SSL error" in refused


def issued() -> tuple[bytes, bytes]:
    """An authority's certificate, and one that it gave ``localhost``, with the key of that; PEM."""
    now = datetime.now(UTC)
    pem = serialization.Encoding.PEM

    def signed(name: str, of: PrivateKey, by: PrivateKey, *, authority: bool) -> bytes:
        names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, one)]) for one in (name, "authority")]
        builder = x509.CertificateBuilder(names[1], names[0], of.public_key(), x509.random_serial_number())
        builder = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
        builder = builder.add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        return builder.sign(by, hashes.SHA256()).public_bytes(pem)

    theirs, ours = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    form = serialization.PrivateFormat.PKCS8
    key = ours.private_bytes(pem, form, serialization.NoEncryption())
    root = signed("authority", theirs, theirs, authority=True)
    return root, signed("localhost", ours, theirs, authority=False) + key


def test_a_write_that_does_not_return_is_no_health(world: World, postgres: Postgres) -> None:
    world.start_server()
    with psycopg.connect(postgres.url("history")) as other:
        other.execute("LOCK TABLE meta, sessions IN EXCLUSIVE MODE")
        eventually(lambda: not healthy(world))
    eventually(lambda: healthy(world))


def test_a_database_that_hangs_does_not_keep_a_server(world: World, postgres: Postgres) -> None:
    pid = world.start_server()["pid"]
    postgres.send(SIGSTOP)
    eventually(lambda: not healthy(world))
    stopped = world.run("session-buddy", "mcp", "stop")
    assert stopped.stdout == f"Session-Buddy (pid {pid}) is stopped.\n"
    postgres.send(SIGCONT)


@pytest.fixture
def locked(world: World, postgres: Postgres) -> str:
    """The history's URL for a role that needs its password; the world has none."""
    postgres.run("CREATE ROLE locked LOGIN SUPERUSER PASSWORD 'geheim'")
    return world.environ.pop("SESSION_BUDDY_STORAGE_URL").replace("buddy:", "locked:")


def test_a_password_is_in_no_argument_and_no_message(world: World, locked: str) -> None:
    first = world.run("session-buddy", "mcp", "start", "--background", "--db", locked)
    pid = json.loads(world.server_file.read_text())["pid"]
    arguments = Path(f"/proc/{pid}/cmdline").read_bytes().decode()
    again = world.run("session-buddy", "mcp", "start", "--db", locked, "--log-level", "debug", code=1)
    assert "to apply what is set now: session-buddy mcp restart --db=postgresql://locked@" in again.stderr
    assert "geheim" not in first.stdout + first.stderr + arguments + again.stdout + again.stderr


def test_a_restart_that_fails_leaves_the_server_as_it_was(world: World, locked: str) -> None:
    world.environ["SESSION_BUDDY_STORAGE_URL"] = locked
    world.run("session-buddy", "mcp", "start", "--background")
    failed = world.run("session-buddy", "mcp", "restart", "--db", f"{locked}-nowhere", code=1)
    assert "does not exist; the server runs again as it did" in failed.stderr
    assert healthy(world)


def healthy(world: World) -> bool:
    """Whether the server says that it is."""
    return world.run("session-buddy", "mcp", "status", code=None).returncode == 0


def ended(world: World) -> set[str]:
    """The sessions that the history has, with their ends."""
    return {one["session_id"] for one in world.sessions("--status", "ended", "--limit", "1000000")}
