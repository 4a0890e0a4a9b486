"""Names, numbers and the thread; what a real server and the command line do is in the workspace's tests."""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from session_buddy.errors import StoreUnavailable, UnknownBackup
from session_buddy.history.query import Query
from session_buddy.intake.presence import Presence
from session_buddy.intake.writer import Writer
from session_buddy.keep import keeper as module
from session_buddy.keep.backups import Backup, Backups
from session_buddy.keep.keeper import Keeper
from session_buddy.store import open_file
from tests.samples import arrival, end_event, start_event

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
def backups(tmp_path: Path) -> Backups:
    return Backups(tmp_path / "history.duckdb")


def there(backups: Backups, *times: datetime) -> None:
    backups.folder.mkdir(exist_ok=True)
    for time in times:
        (backups.folder / f"history-{time:%Y%m%d-%H%M%SZ}.duckdb").touch()


def copier(path: Path, sessions: int = 1) -> Callable[[Path], int]:
    """What a store does for a backup, of a history with one session."""

    def copy(target: Path) -> int:
        store = open_file(path)
        store.ingest([arrival(start_event())] if store.count_live() == 0 else [])
        store.backup(target)
        store.close()
        return sessions

    return copy


def names(backups: Backups) -> list[str]:
    return [backup.name for backup in backups.listed()]


def test_only_what_is_named_like_one_is_one(backups: Backups) -> None:
    assert backups.listed() == []
    there(backups, NOW, NOW - DAY)
    for other in (
        "other-20260301-120000Z.duckdb",
        "history-20269901-120000Z.duckdb",
        "history-now.duckdb",
        "x",
    ):
        (backups.folder / other).touch()
    assert names(backups) == ["history-20260301-120000Z.duckdb", "history-20260228-120000Z.duckdb"]
    (backups.folder / "history-20260101-120000Z.duckdb").mkdir()
    assert len(names(backups)) == 2
    assert backups.find("latest", NOW).made_at == NOW
    assert "count=2" in repr(backups)
    with pytest.raises(
        UnknownBackup, match=r"no backup 'x' in .*; there are history-20260301-120000Z.duckdb, "
    ):
        backups.find("x", NOW)


def test_a_path_is_any_copy(backups: Backups, tmp_path: Path) -> None:
    copy = tmp_path / "copied"
    copy.write_text("x")
    assert backups.find(str(copy), NOW)[::2] == (copy, 1)
    with pytest.raises(StoreUnavailable, match=r"backup /nowhere/x cannot be read: No such file"):
        backups.find("/nowhere/x", NOW)


@pytest.mark.parametrize(
    ("age", "due"), [(None, True), (timedelta(0), False), (DAY, True), (-timedelta(hours=1), True)]
)
def test_one_is_due_when_the_last_is_old_or_there_are_some_from_the_future_only(
    backups: Backups, age: timedelta | None, *, due: bool
) -> None:
    if age is not None:
        there(backups, NOW - age)
    assert backups.is_due(NOW, DAY) is due


def test_one_from_the_future_is_not_the_last_and_goes_before_the_good_ones(
    backups: Backups, tmp_path: Path
) -> None:
    there(backups, NOW - 2 * DAY, NOW - DAY, NOW + DAY)
    assert backups.find("latest", NOW).made_at == NOW - DAY
    assert not backups.is_due(NOW, 2 * DAY)
    made = backups.make(copier(tmp_path / "history.duckdb"), NOW, keep=3)
    assert [backup.made_at for backup in backups.listed()] == [NOW, NOW - DAY, NOW - 2 * DAY]
    assert backups.last(NOW) == made


def test_the_new_one_stays_even_if_the_clock_was_set_back(backups: Backups, tmp_path: Path) -> None:
    there(backups, NOW, NOW + DAY, NOW + 2 * DAY)
    made = backups.make(copier(tmp_path / "history.duckdb"), NOW - DAY, keep=2)
    assert names(backups) == ["history-20260303-120000Z.duckdb", made.name]


def test_a_copy_that_lacks_something_is_none(backups: Backups, tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="the copy has 1 sessions, the database 2"):
        backups.make(copier(tmp_path / "history.duckdb", sessions=2), NOW, keep=2)
    assert list(backups.folder.iterdir()) == []


@pytest.mark.parametrize("name", ["history", "hist[o]ry", "*"])
def test_what_a_killed_maker_left_goes_and_another_databases_stays(tmp_path: Path, name: str) -> None:
    backups = Backups(tmp_path / f"{name}.duckdb")
    there(backups)
    stamp = "20260228-120000Z.duckdb.new"
    theirs = {f".{other}-{stamp}" for other in ("history-test", "history-20260101-120000Z", "xhistory")}
    for draft in (*theirs, f".{name}-{stamp}"):
        (backups.folder / draft).touch()
    made = backups.make(copier(tmp_path / f"{name}.duckdb"), NOW, keep=1)
    assert {path.name for path in backups.folder.iterdir()} == {*theirs, made.name}


@pytest.mark.parametrize(("one", "other"), [("x", "x.duckdb"), ("x.duckdb", "x"), ("x", "x.db")])
def test_databases_whose_names_are_alike_keep_their_own(tmp_path: Path, one: str, other: str) -> None:
    first, second = Backups(tmp_path / one), Backups(tmp_path / other)
    made = first.make(copier(tmp_path / one), NOW, keep=1)
    (first.folder / f".{made.name}.new").touch()
    second.make(copier(tmp_path / other), NOW + DAY, keep=1)
    assert first.listed() == [made]
    assert [backup.made_at for backup in second.listed()] == [NOW + DAY]
    assert (first.folder / f".{made.name}.new").exists()


def test_one_is_made_even_if_an_older_one_cannot_be_removed(
    backups: Backups, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stuck = tmp_path / "stuck"
    stuck.mkdir()
    monkeypatch.setattr(Backups, "listed", lambda _: [Backup(stuck, NOW - DAY, 0)])
    made = backups.make(copier(tmp_path / "history.duckdb"), NOW, keep=1)
    assert made.path.exists()
    assert f"backup {made.path} is made, but an older one cannot be removed" in caplog.text


def test_copies_are_made_while_others_read_and_write(
    tmp_path: Path, backups: Backups, size: Callable[[int, int], int]
) -> None:
    copies = size(5, 20)
    store = open_file(tmp_path / "history.duckdb")
    starts = [arrival(start_event(number)) for number in range(500)]
    sessions = [start.session_id for start in starts]
    store.ingest(starts)
    stop = threading.Event()
    failures: list[BaseException] = []

    def read() -> None:
        try:
            while not stop.is_set():
                assert len(store.select(Query(limit=1000))) == len(sessions)
        except BaseException as error:  # noqa: BLE001 - told to the test
            failures.append(error)

    readers = [threading.Thread(target=read) for _ in range(2)]
    with Writer(store, Presence()) as writer:

        def copy(target: Path) -> int:
            return writer.run(lambda: store.backup(target)).result()

        for reader in readers:
            reader.start()
        try:
            for number in range(copies):
                writer.submit([arrival(end_event(sessions[number]))]).result()
                made = backups.make(copy, NOW + number * DAY, keep=2)
        finally:
            stop.set()
            for reader in readers:
                reader.join()
    assert failures == []
    store.close()
    copied = open_file(made.path)
    assert (copied.count_live(), copied.gap, copied.missing(["x"])) == (500 - copies, None, ["x"])
    copied.close()


def test_a_database_whose_file_was_removed_says_so(tmp_path: Path, backups: Backups) -> None:
    store = open_file(tmp_path / "history.duckdb")
    (tmp_path / "history.duckdb").unlink()
    with pytest.raises(StoreUnavailable, match="was removed or exchanged while it is in use"):
        backups.make(store.backup, NOW, keep=2)
    store.close()


def test_what_fails_is_told_once_and_tried_again(
    backups: Backups, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.01)
    caplog.set_level(logging.INFO)
    calls = 0
    made = threading.Event()

    def make() -> Backup:
        nonlocal calls
        calls += 1
        if calls < 5:
            raise StoreUnavailable("the disk is full")
        there(backups, datetime.now(UTC))
        made.set()
        return backups.listed()[0]

    keeper = Keeper(backups, make, DAY)
    keeper.start()
    keeper.start()
    assert made.wait(30)
    keeper.close()
    keeper.close()
    assert (keeper.failures, calls) == (0, 5)
    assert caplog.text.count("the disk is full") == 1
    assert "after 4 failures" in caplog.text


def test_a_failure_is_forgotten_once_somebody_else_has_made_one(
    backups: Backups, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.01)
    failed = threading.Event()

    def make() -> Backup:
        failed.set()
        raise StoreUnavailable("the disk is full")

    keeper = Keeper(backups, make, DAY)
    keeper.start()
    assert failed.wait(30)
    there(backups, datetime.now(UTC))
    for _ in range(1000):
        if keeper.failures == 0:
            break
        threading.Event().wait(0.03)
    keeper.close()
    assert keeper.failures == 0


def test_one_that_is_being_made_is_waited_for(backups: Backups, tmp_path: Path) -> None:
    begun, go = threading.Event(), threading.Event()

    def copy(target: Path) -> int:
        begun.set()
        assert go.wait(60)
        return copier(tmp_path / "history.duckdb")(target)

    with ThreadPoolExecutor() as threads:
        backup = threads.submit(backups.make, copy, NOW, 7)
        assert begun.wait(60)
        waiting = threads.submit(backups.wait)
        go.set()
        waiting.result(60)
        assert names(backups) == [backup.result(60).name]


def test_a_closed_one_begins_no_more(backups: Backups) -> None:
    keeper = Keeper(backups, lambda: backups.listed()[0], DAY)
    keeper.close()
    keeper.start()
    assert keeper._thread is None
