"""``./dev demo``: a server on the sample history, where people go on coming and leaving until Ctrl-C."""

import argparse
import os
import random
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple, NoReturn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from oneiric.paths import user_paths
from oneiric.transport import Endpoint, call_tool
from session_buddy.host.histories import own
from session_buddy.host.server_file import ServerInfo
from session_buddy.store import open_store
from tests.demo_history import DAYS, Company, history, take_in
from tests.demo_visits import Event, Visit, beat_of, end_of, start_of
from tests.serverprocess import ServerProcess, environ_in
from tests.world import PROGRAMS

BEAT_SECONDS: Final = 10.0
# Between two who come or leave.
_PAUSE: Final = (1.5, 6.0)
_MOST_LIVE: Final = 30
_TIMEOUT: Final = 30.0
# Not only what the demo sends for others: a shell of this user's own, that comes and goes.
_GUEST: Final = """
import itertools, oneiric, time
for number in itertools.count():
    with oneiric.track_session("guest", reason="a shell of your own, sent by a real emitter") as session:
        session.record(commands=number)
        time.sleep(8 + number % 3 * 5)
    time.sleep(4)
"""


class Life:
    """Who is in, and comes, and leaves, as emitters on four hosts would tell it.

    Args:
        company: who works there.
        live: who is in; the one who is in longest is not heard of any more.
        endpoint: the server.
        chance: decides.
    """

    def __init__(
        self, company: Company, live: Sequence[Visit], endpoint: Endpoint, chance: random.Random
    ) -> None:
        self._company = company
        _, *self._live = live
        self._endpoint = endpoint
        self._chance = chance

    def beat(self, now: datetime) -> None:
        """Send a heartbeat of everybody who is in."""
        self._send([beat_of(visit, now) for visit in self._live])

    def step(self, now: datetime) -> None:
        """Somebody comes or leaves: more come while few are in."""
        if self._chance.random() < len(self._live) / _MOST_LIVE:
            self.leave(now)
        else:
            self.come(now)

    def come(self, now: datetime) -> None:
        """Somebody comes in."""
        visit = self._company.newcomer(now)
        self._send([start_of(visit, self._chance)])
        self._live.append(visit)

    def leave(self, now: datetime) -> None:
        """Somebody leaves."""
        visit = self._live.pop(self._chance.randrange(len(self._live)))
        visit.seconds = (now - visit.begin).total_seconds()
        self._send([end_of(visit, self._chance)])

    def _send(self, events: list[Event]) -> None:
        tell(self._endpoint, events)


def tell(endpoint: Endpoint, events: Sequence[Event]) -> None:
    """Tell a server events, as an emitter does.

    Raises:
        AssertionError: one of them was not stored, or was known.
    """
    answer = call_tool(endpoint, "track_events", {"events": list(events)}, _TIMEOUT)
    refused = [one for one in answer["results"] if one["status"] != "stored"]
    assert not refused, refused


class Demo(NamedTuple):
    """A demo that is up.

    Attributes:
        environ: of a command that asks its server.
        info: what that says of itself.
        life: who is in.
        server: its process.
    """

    environ: Mapping[str, str]
    info: ServerInfo
    life: Life
    server: ServerProcess


@contextmanager
def demo(
    folder: Path, end: datetime, chance: random.Random, days: int = DAYS, **settings: str
) -> Iterator[Demo]:
    """A server that is at home in ``folder``, on a history of so many days up to ``end``.

    ``settings`` are further variables of its environment.
    """
    environ = environ_in(folder, **settings)
    made = history(end, chance, days)
    fill(environ, made.events)
    with ServerProcess(environ) as server:
        info = server.until_up()
        yield Demo(server.environ, info, Life(made.company, made.live, info.endpoint, chance), server)


def fill(environ: Mapping[str, str], events: Sequence[Event]) -> None:
    """Take events into the database of a user who has none yet."""
    with closing(open_store(environ.get("SESSION_BUDDY_STORAGE_URL") or own(user_paths(environ)))) as store:
        take_in(store, events)


def main(words: Sequence[str]) -> None:
    """Run the demo."""
    parser = argparse.ArgumentParser(prog="./dev demo", description="A server on a lively sample history.")
    parser.add_argument("--port", type=int, default=0, help="where it listens; a free one if not given")
    parser.add_argument("--seed", type=int, default=1, help="another history for another number")
    parser.add_argument("--days", type=int, default=DAYS, help="how far back it goes")
    parser.add_argument("--check", action="store_true", help="end once a start and an end have come in")
    asked = parser.parse_args(words)
    if not 0 <= asked.port < 2**16 or asked.days < 1:
        parser.error("--port is 0 to 65535, --days is 1 or more")
    # Nothing of this user's own history, servers or tokens is touched.
    for name in [name for name in os.environ if name.startswith(("SESSION_BUDDY_", "ONEIRIC_", "XDG_"))]:
        del os.environ[name]
    chance = random.Random(asked.seed)  # noqa: S311 - no secret
    with (
        TemporaryDirectory(prefix="session-buddy-demo-") as folder,
        suppress(KeyboardInterrupt, BrokenPipeError),
    ):
        print(f"Making {asked.days} days of history …", flush=True)
        try:
            port = str(asked.port)
            with demo(Path(folder), datetime.now(UTC), chance, asked.days, SESSION_BUDDY_PORT=port) as begun:
                run(begun, chance, forever=not asked.check)
        except RuntimeError as refused:
            sys.exit(f"The server did not start: {str(refused).strip()}")


def run(begun: Demo, chance: random.Random, *, forever: bool) -> None:
    """People come and leave: one of each, or until Ctrl-C."""
    life = begun.life
    life.beat(datetime.now(UTC))
    if forever:
        show(begun)
        with guest(begun.environ):
            go_on(life, chance)
    life.come(datetime.now(UTC))
    life.leave(datetime.now(UTC))
    print("Checked: a start and an end have come in")


def show(begun: Demo) -> None:
    """Open the page, or say how to get there, and what else can be asked."""
    environ = begun.environ
    names = [name for name in environ if name == "HOME" or name.startswith(("XDG_", "SESSION_BUDDY_"))]
    lines = [f"export {name}={shlex.quote(environ[name])}" for name in names]
    file = Path(environ["HOME"], "environ")
    file.write_text("\n".join([f'export PATH={shlex.quote(str(PROGRAMS))}:"$PATH"', *lines, ""]))
    opened = subprocess.run(
        [PROGRAMS / "session-buddy", "dashboard"], env=environ, check=False, stderr=subprocess.PIPE, text=True
    )
    if opened.returncode:
        address = begun.info.url.removesuffix("mcp")
        print(f"Pages: {address}, with the token that `session-buddy token show` prints")
    print(f"In another terminal: (. {file}; session-buddy who), or follow, list-sessions, dashboard")
    print("People come and leave until Ctrl-C", flush=True)


@contextmanager
def guest(environ: Mapping[str, str]) -> Iterator[None]:
    """A shell of this user's own that comes and goes."""
    process = subprocess.Popen([sys.executable, "-P", "-c", _GUEST], env=environ, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def go_on(life: Life, chance: random.Random) -> NoReturn:
    """People come and leave until Ctrl-C."""
    beaten = time.monotonic()
    while True:
        time.sleep(chance.uniform(*_PAUSE))
        life.step(datetime.now(UTC))
        if time.monotonic() - beaten >= BEAT_SECONDS:
            beaten = time.monotonic()
            life.beat(datetime.now(UTC))


if __name__ == "__main__":
    main(sys.argv[1:])
