"""``config``: what is in force, from where, and the user's own file."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from session_buddy.errors import ConfigurationError
from session_buddy.host.explained import change, in_force, keys
from session_buddy.host.layers import load_settings, user_file
from tests.terminal import printed

Cli = Callable[..., Any]


@pytest.fixture
def file(home: Path) -> Path:
    """The user's own settings file, whose folder is there."""
    user_file().parent.mkdir(parents=True)
    return user_file()


def source_of(key: str) -> str:
    return next(one.source for one in in_force() if one.key == key)


def test_each_setting_is_told_with_where_it_comes_from(
    cli: Cli, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text("query_seconds: 7\nbackup:\n  keep: 3\nsecret: " + "x" * 40)
    monkeypatch.setenv("SESSION_BUDDY_STORAGE_URL", "postgresql://ada:geheim@db.example/h")
    monkeypatch.setenv("SESSION_BUDDY_BACKUP__EVERY_HOURS", "12")
    rows = [line.split("\t") for line in cli("config", "show").stdout.splitlines()]
    told = {key: (value, source) for key, value, source, _ in rows}
    assert list(told) == [".".join(key) for key in keys()]
    assert told["storage_url"] == ("postgresql://ada@db.example/h", "SESSION_BUDDY_STORAGE_URL")
    assert told["query_seconds"] == ("7.0", f"{file}, line 1: query_seconds")
    assert told["backup.keep"] == ("3", f"{file}, line 3: backup.keep")
    assert told["backup.every_hours"] == ("12.0", "SESSION_BUDDY_BACKUP__EVERY_HOURS")
    assert told["secret"][0] == "(set, not shown)"
    assert told["port"] == ("8678", "default")
    assert [one["variable"] for one in json.loads(cli("config", "show", "-f", "json").stdout)][-1] == (
        "SESSION_BUDDY_BACKUP__KEEP"
    )
    table = printed("config", "show")
    assert table.splitlines()[0].split() == ["key", "value", "source"]
    assert "geheim" not in table
    assert "x" * 40 not in table
    assert cli("config", "validate").stdout == (
        "The settings are valid; set: storage_url, secret, query_seconds, backup.every_hours, backup.keep\n"
    )


def test_the_database_is_told_where_none_is_named(home: Path) -> None:
    (url,) = (one.value for one in in_force() if one.key == "storage_url")
    assert url == str(load_settings().database_url())


def test_a_value_is_set_and_the_rest_stays_as_it_is(file: Path) -> None:
    file.write_text("# mine\nport: 5  # why\n\nbackup: # often\n  # old\n  every_hours: 1\n")
    for key, value in (
        ("port", "7"),
        ("backup.keep", "9"),
        ("backup.every_hours", "2"),
        ("allowed_hosts", "[buddy.example]"),
        ("secret", 'it: has # all - of "it", and forty letters'),
        ("db_path", "~/x y.duckdb"),
    ):
        assert change(key, value) == file
    text = file.read_text()
    assert text.startswith(
        "# mine\nport: 7  # why\n\nbackup: # often\n  keep: 9\n  # old\n  every_hours: 2\n"
    )
    assert yaml.safe_load(text) == {
        "port": 7,
        "backup": {"keep": 9, "every_hours": 2},
        "allowed_hosts": ["buddy.example"],
        "secret": 'it: has # all - of "it", and forty letters',
        "db_path": "~/x y.duckdb",
    }
    assert file.stat().st_mode & 0o777 == 0o600
    assert source_of("backup.keep") == f"{file}, line 5: backup.keep"


def test_a_section_keeps_its_indent_and_a_value_in_quotes_is_replaced_whole(file: Path) -> None:
    file.write_text('secret: "forty letters and a # that is none of a comment"\nbackup:\n    keep: 5\n')
    change("secret", "x" * 40)
    change("backup.every_hours", "2")
    assert file.read_text() == f"secret: {'x' * 40}\nbackup:\n    every_hours: 2\n    keep: 5\n"


def test_lines_end_as_they_did(file: Path) -> None:
    file.write_bytes(b"# mine\r\nport: 5\r\n")
    change("query_seconds", "3")
    assert file.read_bytes() == b"# mine\r\nport: 5\r\nquery_seconds: 3\n"


def test_what_is_no_file_is_not_waited_for(file: Path) -> None:
    os.mkfifo(file)
    with pytest.raises(ConfigurationError, match="it is no regular file"):
        change("port", "5")


def test_of_two_names_of_the_database_the_stronger_counts(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text("db_path: /x.duckdb\n")
    monkeypatch.setenv("SESSION_BUDDY_STORAGE_URL", "duckdb:////y.duckdb")
    assert (source_of("db_path"), source_of("storage_url")) == ("default", "SESSION_BUDDY_STORAGE_URL")


def test_the_first_value_makes_the_file(cli: Cli, home: Path) -> None:
    assert cli("config", "path").stdout == f"{user_file()}\n"
    done = cli("config", "set", "backup.keep", "9")
    assert (done.stdout, done.stderr) == (f"backup.keep is set in {user_file()}\n", "")
    assert user_file().read_text() == "backup:\n  keep: 9\n"


def test_a_stronger_source_is_told(cli: Cli, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SESSION_BUDDY_QUERY_SECONDS", "3")
    done = cli("config", "set", "query_seconds", "9")
    assert done.stderr == "It has no effect here: SESSION_BUDDY_QUERY_SECONDS is stronger\n"


@pytest.mark.usefixtures("server")
def test_who_runs_a_server_is_told_when_it_counts(cli: Cli) -> None:
    done = cli("config", "set", "query_seconds", "9")
    assert done.stderr == "The running server has it after: session-buddy mcp restart\n"


@pytest.mark.parametrize(
    ("text", "key", "value", "said"),
    [
        ("", "prot", "1", r"config set: unknown key 'prot' \(did you mean port\?\); allowed: host, port, "),
        ("", "backup", "1", "unknown key 'backup'"),
        ("", "port", "x", "'x' is not valid: allowed is a valid integer"),
        ("", "log_level", "", "'' is not valid"),
        ("port: [", "port", "1", "line 1: not valid YAML"),
        ("port:\n  5\n", "port", "1", "line 1: it is written in its own way; edit it there"),
        ("allowed_hosts:\n- a\n", "allowed_hosts", "[]", "line 1: it is written in its own way"),
        ("backup: {keep: 5}", "backup.every_hours", "1", "line 1: it is written in its own way"),
        ("heartbeat_seconds: 100", "lease_seconds", "60", "four heartbeats, 400 seconds, are the least"),
        ("{port: 5}", "port", "1", "line 1: it is written in its own way"),
        ("{port: 5}", "host", "127.0.0.1", "it is written in its own way"),
        ("---\nport: 1\n...\n", "host", "127.0.0.1", "it is written in its own way"),
        ("", "storage_url", "mysql://x.invalid/y", "is not valid: duckdb:///path or postgresql"),
        ("colour: red", "port", "1", "unknown key 'colour'"),
    ],
)
def test_what_cannot_be_set_changes_nothing(file: Path, text: str, key: str, value: str, said: str) -> None:
    file.write_text(text)
    with pytest.raises(ConfigurationError, match=said):
        change(key, value)
    assert file.read_text() == text
    assert [one.name for one in file.parent.iterdir()] == [file.name]
