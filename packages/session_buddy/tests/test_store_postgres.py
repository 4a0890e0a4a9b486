"""What is PostgreSQL's alone: how it is opened, refused, and shown without secrets."""

import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress

import pytest

from oneiric.paths import Paths
from session_buddy.errors import (
    BackupsElsewhere,
    ConfigurationError,
    NewerDatabase,
    NotADatabase,
    OlderDatabase,
    StoreError,
    StoreUnavailable,
)
from session_buddy.history.query import Query
from session_buddy.host.database_url import DatabaseUrl
from session_buddy.host.histories import databases
from session_buddy.host.settings import wrong_with
from session_buddy.keep.backups import Backups
from session_buddy.store import as_file, open_known, open_store
from session_buddy.store.postgres import PostgresStore, opening, schema, statements
from tests.engines import PostgresDatabase
from tests.postgres import Postgres
from tests.samples import arrival, end_event, session_id_of, start_event


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://ada:geheim@db.example/history", "postgresql://ada@db.example/history"),
        ("postgres://ada:ge?he#im@db.example:5433/history", "postgresql://ada@db.example:5433/history"),
        ("postgresql://db1,db2:5433/h?user=ada&password=geheim", "postgresql://db1,db2:5433/h?user=ada"),
        ("postgresql:///h?service=prod&pass%77ord=geheim", "postgresql:///h?service=prod"),
        ("postgresql://%2Fsock/d?sslpassword=geheim&user=a%20b", "postgresql://%2Fsock/d?user=a%20b"),
        ("postgresql://h/d?options=-csearch_path%3Dmine", "postgresql://h/d?options=-csearch_path%3Dmine"),
    ],
)
def test_a_url_is_shown_without_its_secrets(url: str, shown: str) -> None:
    database = DatabaseUrl.parse(url)
    assert (str(database), database.name, database.whole) == (shown, shown, url)
    assert "geheim" not in repr(database)
    assert database == DatabaseUrl.parse(shown)


@pytest.mark.parametrize(
    "url",
    [
        "mysql://ada:geheim@db.example/history",
        "host=db.example password=geheim",
        "postgresql:ada:geheim@db",
        "postgresql://[::1?password=geheim",
        "postgresql://ada:ge/heim@db.example/history",
        "postgresql://ada:x@geheim@db.example/history",
    ],
)
def test_what_is_no_url_is_refused_without_its_secrets(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        DatabaseUrl.parse(url)
    assert str(caught.value).startswith("storage_url: ")
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize(
    "part", ["?nothing=geheim", ":port/h?password=geheim", "/h?connect_timeout=x&password=geheim"]
)
def test_what_the_driver_cannot_read_is_refused_without_its_secrets(part: str) -> None:
    with pytest.raises((ConfigurationError, StoreUnavailable)) as caught:
        open_store(f"postgresql://127.0.0.1{part}")
    assert str(caught.value).count("\n") == 0
    assert "geheim" not in str(caught.value)


def test_a_server_that_is_not_there_is_named(port: int) -> None:
    with pytest.raises(
        StoreUnavailable, match=f"database postgresql://ada@127.0.0.1:{port}/h cannot be opened: "
    ):
        open_store(f"postgresql://ada:geheim@127.0.0.1:{port}/h")


def test_a_database_that_is_not_there_is_named(postgres: Postgres) -> None:
    with pytest.raises(StoreUnavailable, match='database "nowhere" does not exist'):
        open_store(postgres.url("nowhere"))


def test_a_wrong_password_is_named_and_not_shown(postgres: Postgres, database: PostgresDatabase) -> None:
    postgres.run("DROP ROLE IF EXISTS locked", "CREATE ROLE locked LOGIN PASSWORD 'right'")
    url = str(database.url).replace("postgres@", "locked:geheim@")
    with pytest.raises(StoreUnavailable, match='password authentication failed for user "locked"') as caught:
        open_store(url)
    assert "geheim" not in str(caught.value)


def test_who_may_make_no_tables_is_told_where(postgres: Postgres, database: PostgresDatabase) -> None:
    postgres.run("DROP ROLE IF EXISTS reader", "CREATE ROLE reader LOGIN")
    url = str(database.url).replace("postgres@", "reader@")
    with pytest.raises(StoreUnavailable, match="cannot be opened: permission denied for schema public"):
        open_store(url)


@pytest.mark.parametrize("many", [1, 3])
def test_somebody_elses_tables_are_left_alone(
    postgres: Postgres, database: PostgresDatabase, many: int
) -> None:
    tables = ["CREATE TABLE sessions (x int)", "CREATE TABLE events (x int)", "CREATE TABLE meta (x int)"]
    postgres.run(*tables[:many], database=database.name)
    with pytest.raises(NotADatabase, match="has tables of something else; it was left as it is"):
        open_store(database.url)
    assert database.ask("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == [(many,)]


def test_an_encoding_that_lacks_letters_is_refused(postgres: Postgres) -> None:
    postgres.run(
        "DROP DATABASE IF EXISTS latin",
        "CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'",
    )
    with pytest.raises(NotADatabase, match="has the encoding LATIN1; UTF8 is needed"):
        open_store(postgres.url("latin"))


def test_a_newer_database_is_refused(postgres: Postgres, database: PostgresDatabase) -> None:
    open_store(database.url).close()
    postgres.run("UPDATE meta SET value = '99' WHERE key = 'schema_version'", database=database.name)
    with pytest.raises(NewerDatabase, match=r"newer Session-Buddy \(schema 99; this knows"):
        open_store(database.url)


def test_who_only_looks_changes_nothing(database: PostgresDatabase) -> None:
    with pytest.raises(OlderDatabase, match="holds no history yet"):
        open_store(database.url, only_look=True)
    assert database.ask("SELECT to_regclass('sessions')") == [(None,)]
    with closing(open_store(database.url)) as store:
        store.ingest([arrival(start_event())])
    with closing(open_store(database.url, only_look=True)) as store:
        assert len(store.select(Query())) == 1


def test_servers_that_begin_at_once_make_the_tables_once(database: PostgresDatabase) -> None:
    with ThreadPoolExecutor(4) as several:
        stores = list(several.map(lambda _: open_store(database.url), range(4)))
    assert len({store.instance for store in stores}) == 1
    for store in stores:
        store.close()


def test_a_step_is_taken_once_by_whoever_comes_first(
    database: PostgresDatabase, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    open_store(database.url).close()
    steps = (*schema.MIGRATIONS, "SELECT pg_sleep(0.2); ALTER TABLE sessions ADD colour text")
    monkeypatch.setattr(opening, "MIGRATIONS", steps)
    monkeypatch.setattr(opening, "LATEST", len(steps))
    with ThreadPoolExecutor(4) as several:
        for store in several.map(lambda _: open_store(database.url), range(4)):
            store.ingest([arrival(start_event())])
            store.close()
    assert caplog.text.count(f"are brought from version {len(steps) - 1} to {len(steps)}") == 1
    assert database.ask("SELECT value FROM meta WHERE key = 'schema_version'") == [(str(len(steps)),)]


@pytest.mark.parametrize("many", [1, 30])
@pytest.mark.parametrize("subject", ["a\0b", "\ud800"])
def test_what_the_driver_cannot_send_is_no_fault_of_the_database(
    database: PostgresDatabase, subject: str, many: int
) -> None:
    with closing(open_store(database.url)) as store:
        with pytest.raises(StoreError) as caught:
            store.ingest([arrival(start_event(after))._replace(subject=subject) for after in range(many)])
        assert type(caught.value) is StoreError
        (taken,) = store.ingest([arrival(start_event())])
        assert taken.verdict == "stored"


@pytest.mark.parametrize("key", ["instance", "secret"])
def test_a_database_that_lacks_what_every_one_has_is_refused(
    postgres: Postgres, database: PostgresDatabase, key: str
) -> None:
    open_store(database.url).close()
    postgres.run(f"DELETE FROM meta WHERE key = '{key}'", database=database.name)  # noqa: S608 - ours
    with pytest.raises(StoreUnavailable, match=f"is damaged: it does not say its {key}"):
        open_store(database.url)


def test_who_is_stopped_in_a_transaction_keeps_nobody_waiting(database: PostgresDatabase) -> None:
    raw = start_event()
    with closing(open_store(database.url)) as store, closing(PostgresStore.open(database.url)) as stopped:
        store.ingest([arrival(raw)])
        with suppress(StoreUnavailable), stopped._connections.writing() as writer:
            statements.lock(writer, [session_id_of(raw)])
            assert store.ingest([arrival(end_event(session_id_of(raw)))])[0].verdict == "stored"


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE events ADD COLUMN colour text NOT NULL",
        "ALTER TABLE sessions ADD CHECK (pid < 0)",
        "DROP TABLE events",
    ],
)
def test_what_others_did_to_the_tables_is_no_events_fault(
    postgres: Postgres, database: PostgresDatabase, change: str
) -> None:
    with closing(open_store(database.url)) as store:
        postgres.run(change, database=database.name)
        with pytest.raises(StoreUnavailable, match="cannot be written"):
            store.ingest([arrival(start_event())])


@pytest.mark.parametrize(
    "setting", ["datestyle = 'German'", "client_encoding = 'LATIN1'", "timezone = 'Asia/Tokyo'"]
)
def test_how_the_database_would_write_to_others_is_not_asked(
    postgres: Postgres, database: PostgresDatabase, setting: str
) -> None:
    postgres.run(f"ALTER DATABASE {database.name} SET {setting}")
    raw = start_event(user={"username": "Ünï漢😀", "home": "/"})
    with closing(open_store(database.url)) as store:
        (taken,) = store.ingest([arrival(raw)])
        assert store.find(session_id_of(raw)) == taken.row


def test_what_is_acknowledged_is_on_disk_whatever_is_set(database: PostgresDatabase) -> None:
    with closing(PostgresStore.open(database.url)) as store, store._connections.writing() as writer:
        found = writer.execute("SELECT source FROM pg_settings WHERE name = 'synchronous_commit'").fetchone()
    assert found == ("session",)


def test_it_is_no_file(database: PostgresDatabase, paths: Paths) -> None:
    with closing(open_known(database.url, paths)) as store:
        assert repr(store) == f"<PostgresStore({database.url})>"
        with pytest.raises(BackupsElsewhere, match="pg_dump"):
            as_file(store)
    with pytest.raises(BackupsElsewhere, match="pg_dump"):
        Backups.of(database.url)
    assert databases(paths) == [database.url]


def test_all_servers_of_a_history_have_one_secret(database: PostgresDatabase) -> None:
    with closing(open_store(database.url)) as one, closing(open_store(database.url)) as other:
        assert one.keys
        assert other.keys
        assert one.keys.read() == other.keys.read()
        assert wrong_with(one.keys.read()["secret"]) is None


def test_without_the_driver_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "session_buddy.store.postgres", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'session-buddy\[postgres\]'"):
        open_store("postgresql://db.example/h")
