"""What can be set, from where, and what is said when it cannot."""

import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import SecretStr

from session_buddy.client.ask import names_database
from session_buddy.errors import ConfigurationError
from session_buddy.host import variables
from session_buddy.host.layers import FOLDER_KEYS, load_settings
from session_buddy.host.settings import BackupSettings, Settings

SHIPPED = Path(__file__).parents[3] / "settings" / "session-buddy.yaml"


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def user_file(home: Path, text: str) -> Path:
    return write(home / ".config" / "session-buddy" / "session-buddy.yaml", text)


def folder_file(home: Path, text: str, name: str = "session-buddy") -> Path:
    return write(home / "settings" / f"{name}.yaml", text)


def test_the_shipped_file_names_every_setting_with_its_default() -> None:
    text = SHIPPED.read_text()
    live = yaml.safe_load(text)
    # A setting, or one in a section's indent: `# host: …`, `#   keep: …`.
    settings = re.findall(r"^# ((?:[a-z_]+|  [a-z_]+):(?: .*)?)$", text, re.MULTILINE)
    names = [*Settings.model_fields, *(f"  {name}" for name in BackupSettings.model_fields)]
    commented = yaml.safe_load("\n".join(line for line in settings if line.split(":")[0] in names))
    defaults = {name: field.default for name, field in Settings.model_fields.items()}
    defaults |= {"backup": BackupSettings().model_dump()}
    assert live | commented == defaults
    assert set(live) == FOLDER_KEYS


def test_the_shipped_file_is_accepted_in_a_working_folder(home: Path) -> None:
    folder_file(home, SHIPPED.read_text())
    assert load_settings() == Settings()


def test_nothing_set_gives_the_defaults(home: Path) -> None:
    settings = load_settings()
    assert (settings.host, settings.port, settings.secret) == ("127.0.0.1", 8678, None)
    assert str(settings.database_url()) == f"duckdb:///{home}/.local/share/session-buddy/sessions.duckdb"


def test_each_source_wins_over_the_one_below(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder_file(home, "port: 1")
    assert load_settings().port == 1
    user_file(home, "port: 2")
    assert load_settings().port == 2
    folder_file(home, "port: 3", "local")
    assert load_settings().port == 3
    monkeypatch.setenv("SESSION_BUDDY_PORT", "4")
    assert load_settings().port == 4
    assert load_settings(port=5, host=None).port == 5


def test_the_users_file_may_set_everything(home: Path) -> None:
    user_file(
        home, f"host: 0.0.0.0\nallowed_hosts: [buddy.example]\ndb_path: ~/x.duckdb\nsecret: {'s' * 32}\n"
    )
    settings = load_settings()
    assert settings.host == "0.0.0.0"  # noqa: S104 - read, not bound
    assert settings.allowed_hosts == ["buddy.example"]
    assert str(settings.database_url()) == f"duckdb:///{home}/x.duckdb"
    assert settings.secret == SecretStr("s" * 32)


@pytest.mark.parametrize("key", sorted(set(Settings.model_fields) - FOLDER_KEYS))
@pytest.mark.parametrize("name", ["session-buddy", "local"])
def test_a_working_folder_may_not_say_where_to_listen_or_whom_to_trust(
    home: Path, key: str, name: str
) -> None:
    folder_file(home, f"port: 5\n{key}: x\n", name)
    if (name, key) == ("local", "backup"):
        assert load_settings().port == 5, "it may be another application's"
        return
    with pytest.raises(
        ConfigurationError, match=rf"{name}.yaml, line 2: {key} is not allowed.*SESSION_BUDDY_{key.upper()}"
    ):
        load_settings()


def test_a_working_folder_of_another_user_is_passed_over(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder_file(home, "port: 5")
    monkeypatch.setattr("os.geteuid", lambda: 12345)
    assert load_settings().port == 8678


def test_a_shared_file_may_hold_other_applications_keys(home: Path) -> None:
    folder_file(home, "session: {enabled: false}\nport: 9\nbackup: {to: /mnt}\nbackups: 3\n", "local")
    assert load_settings() == Settings(port=9)
    folder_file(home, "prot: 9\n", "local")
    with pytest.raises(ConfigurationError, match="did you mean port"):
        load_settings()


def test_a_section_that_a_working_folder_may_not_set_is_set_by_variables(home: Path) -> None:
    folder_file(home, "backup: {keep: 3}\n")
    allowed = "or as SESSION_BUDDY_BACKUP__EVERY_HOURS and SESSION_BUDDY_BACKUP__KEEP$"
    with pytest.raises(ConfigurationError, match=allowed):
        load_settings()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            "prot: 5\n",
            r"session-buddy.yaml, line 1: unknown key 'prot' \(did you mean port\?\); allowed: host, port",
        ),
        ("colour: red\n", r"line 1: unknown key 'colour'; allowed: host"),
        ("# one\nport: many\n", r"line 2: port: 'many' is not valid: allowed is a valid integer"),
        ("lease_seconds: yes\n", r"line 1: lease_seconds: True is not valid: a number is allowed"),
        ("port: 70000\n", r"line 1: port: 70000 is not valid: .*less than or equal to 65535"),
        (
            "log_level: loud\n",
            r"line 1: log_level: 'loud' is not valid: .*'debug', 'info', 'warning' or 'error'",
        ),
        ("host: [\n", r"session-buddy.yaml, line 2: not valid YAML"),
        ("a: b: c\n", r"session-buddy.yaml, line 1: not valid YAML"),
        ("- port\n", r"session-buddy.yaml: lines like `key: value` are allowed, not a list"),
        ("secret: short\n", r"line 1: secret: a secret has at least 32 characters; make one with python -c"),
        ("host: \xff\n", r"cannot be read"),
    ],
)
def test_a_bad_file_is_named_with_its_line_and_what_is_allowed(home: Path, text: str, complaint: str) -> None:
    user_file(home, "").write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigurationError, match=complaint) as caught:
        load_settings()
    assert "\n" not in str(caught.value)


def test_a_section_is_set_key_by_key(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    user_file(home, "backup: {every_hours: 1.5}\n")
    monkeypatch.setenv("SESSION_BUDDY_BACKUP__KEEP", "3")
    assert load_settings().backup == BackupSettings(every_hours=1.5, keep=3)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("keep: 0", r"line 1: backup.keep: 0 is not valid: .*greater than or equal to 1"),
        ("every_hours: -1", r"line 1: backup.every_hours: -1 is not valid: .*greater than or equal to 0"),
        ("every_hours: .nan", r"line 1: backup.every_hours: nan is not valid"),
        ("often: 1", r"line 1: backup.often: unknown setting; allowed: every_hours, keep"),
        ("1: 3", r"line 1: backup.1: unknown setting; allowed: every_hours, keep"),
        ("keep: yes", r"line 1: backup.keep: True is not valid: a number is allowed"),
    ],
)
def test_a_bad_key_of_a_section_is_named(home: Path, text: str, complaint: str) -> None:
    user_file(home, f"backup: {{{text}}}\n")
    with pytest.raises(ConfigurationError, match=complaint):
        load_settings()


def test_a_section_that_is_none_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    user_file(home, "backup: daily\n")
    said = "line 1: backup: 'daily' is not valid: a section with every_hours and keep is allowed$"
    with pytest.raises(ConfigurationError, match=said):
        load_settings()


def test_a_bad_variable_of_a_section_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SESSION_BUDDY_BACKUP__KEEP", "x")
    with pytest.raises(ConfigurationError, match="SESSION_BUDDY_BACKUP__KEEP: 'x' is not valid"):
        load_settings()
    for name in ("SESSION_BUDDY_BACKUP", "SESSION_BUDDY_BACKUP_KEEP", "SESSION_BUDDY_KEEP"):
        monkeypatch.setenv(name, "7")
        with pytest.raises(ConfigurationError, match=f"^{name}: unknown setting.* SESSION_BUDDY_BACKUP__K"):
            load_settings()
        monkeypatch.delenv(name)


def test_an_empty_file_sets_nothing(home: Path) -> None:
    user_file(home, "# nothing\n")
    assert load_settings() == Settings()


def test_a_bad_variable_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SESSION_BUDDY_PORT", "x")
    with pytest.raises(ConfigurationError, match="SESSION_BUDDY_PORT: 'x' is not valid"):
        load_settings()


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("SESSION_BUDDY_PRT", " (did you mean SESSION_BUDDY_PORT?)"),
        ("session_buddy_prt", " (did you mean SESSION_BUDDY_PORT?)"),
        ("SESSION_BUDDY_LOGLEVEL", " (did you mean SESSION_BUDDY_LOG_LEVEL?)"),
        ("SESSION_BUDDY_PORT__X", " (did you mean SESSION_BUDDY_PORT?)"),
        ("SESSION_BUDDY_MCP_ENDPIONT", " (did you mean SESSION_BUDDY_MCP_ENDPOINT?)"),
        ("SESSION_BUDDY_BAKCUP__KEEP", " (did you mean SESSION_BUDDY_BACKUP__KEEP?)"),
        ("SESSION_BUDDY_COLOUR_SCHEME", ""),
    ],
)
def test_a_mistyped_variable_is_named(
    home: Path, monkeypatch: pytest.MonkeyPatch, name: str, hint: str
) -> None:
    monkeypatch.setenv(name, "1")
    with pytest.raises(ConfigurationError, match=f"^{name}: unknown setting{re.escape(hint)}; allowed: "):
        load_settings()


def test_the_variables_are_the_settings() -> None:
    keys = {f"backup__{key}" for key in BackupSettings.model_fields} | Settings.model_fields.keys()
    assert {f"{variables.PREFIX}{key.upper()}" for key in keys - {"backup"}} == variables.SETTINGS


def test_a_lease_is_no_shorter_than_four_heartbeats(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    user_file(home, "# mine\nlease_seconds: 59\n")
    said = r"line 2: lease_seconds: 59 is not valid: four heartbeats, 60 seconds, are the least$"
    with pytest.raises(ConfigurationError, match=said):
        load_settings()
    monkeypatch.setenv("SESSION_BUDDY_LEASE_SECONDS", "5")
    with pytest.raises(ConfigurationError, match=r"^SESSION_BUDDY_LEASE_SECONDS: 5 is not valid: four"):
        load_settings()
    monkeypatch.setenv("SESSION_BUDDY_HEARTBEAT_SECONDS", "1")
    assert load_settings().lease_seconds == 5
    monkeypatch.delenv("SESSION_BUDDY_LEASE_SECONDS")
    user_file(home, "heartbeat_seconds: 100\n")
    assert load_settings().lease_seconds == 300, "a default gives way: the server grants four heartbeats"


def test_a_short_secret_is_refused_without_being_shown(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SESSION_BUDDY_SECRET", "hunter2")
    with pytest.raises(ConfigurationError, match="SESSION_BUDDY_SECRET: a secret has at least 32") as caught:
        load_settings()
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("secret", "complaint"),
    [
        (os.fsdecode(b"\xff" * 32), "text in UTF-8"),
        ("-----BEGIN PUBLIC KEY-----" + "A" * 32, "neither a key pair's file"),
        ("ssh-ed25519 " + "A" * 32, "neither a key pair's file"),
    ],
)
def test_a_secret_that_signs_nothing_is_refused_without_being_shown(
    home: Path, monkeypatch: pytest.MonkeyPatch, secret: str, complaint: str
) -> None:
    monkeypatch.setenv("SESSION_BUDDY_SECRET", secret)
    with pytest.raises(ConfigurationError, match=f"SESSION_BUDDY_SECRET: .*{complaint}.*make one") as caught:
        load_settings()
    assert secret not in str(caught.value)


@pytest.mark.parametrize(
    ("host", "shown"),
    [("::", "[::1]"), ("0.0.0.0", "127.0.0.1"), ("::1", "[::1]"), ("buddy.example", "buddy.example")],  # noqa: S104
)
def test_a_server_is_reached_at_an_address_that_can_be_called(host: str, shown: str) -> None:
    assert Settings(host=host).url(9) == f"http://{shown}:9/mcp"


def test_hosts_are_a_comma_separated_variable(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SESSION_BUDDY_ALLOWED_HOSTS", "a.example, b.example")
    assert load_settings().allowed_hosts == ["a.example", "b.example"]


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("http://buddy.example", "buddy.example"),
        ("https://Buddy.Example.:8678/", "buddy.example"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("*.example", "*.example"),
        ("[::1]:80", "[::1]"),
        ("vm", "vm"),
    ],
)
def test_hosts_are_taken_as_people_write_them(home: Path, written: str, name: str) -> None:
    assert load_settings(allowed_hosts=written).host_names == [name, f"{name}."]


@pytest.mark.parametrize(
    "written", ["http://a/mcp", "a b", "user@a.example", "ftp://a", "a?x", "x" * 64, "::1"]
)
def test_what_is_no_host_is_refused(home: Path, monkeypatch: pytest.MonkeyPatch, written: str) -> None:
    monkeypatch.setenv("SESSION_BUDDY_ALLOWED_HOSTS", written)
    with pytest.raises(ConfigurationError, match=r"SESSION_BUDDY_ALLOWED_HOSTS: .* is no host: names like"):
        load_settings()


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::", "::ffff:127.0.0.1", "fe80::1%lo"])  # noqa: S104
def test_an_address_is_no_name(host: str) -> None:
    assert Settings(host=host).host_names == []


def test_its_own_name_is_a_host(home: Path) -> None:
    assert Settings(host="vm").host_names == ["vm", "vm."]


def test_other_variables_of_the_product_are_no_settings(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SESSION_BUDDY_MCP_ENDPOINT", "http://x/mcp")
    assert load_settings() == Settings()


def test_the_database_is_named_once(home: Path) -> None:
    with pytest.raises(ConfigurationError, match="both set"):
        load_settings(db_path="a.duckdb", storage_url="duckdb:////b.duckdb")
    url = "duckdb:////b.duckdb"
    for settings in (load_settings(storage_url=url), load_settings(db=url), load_settings(db="/b.duckdb")):
        assert str(settings.database_url()) == url


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("duckdb:///rel.duckdb", "{home}/rel.duckdb"),
        ("duckdb:///./sub/rel.duckdb", "{home}/sub/rel.duckdb"),
        ("duckdb:///~/x.duckdb", "{home}/x.duckdb"),
        ("duckdb:////srv/x.duckdb", "/srv/x.duckdb"),
    ],
)
def test_a_database_is_named_by_its_absolute_path_however_it_was_written(
    home: Path, url: str, path: str
) -> None:
    named = load_settings(storage_url=url).database_url()
    assert str(named) == f"duckdb:///{path.format(home=home)}"
    assert load_settings(storage_url=str(named)).database_url() == named


@pytest.mark.parametrize("url", ["duckdb:///", "x.duckdb", "mysql://db/x"])
def test_what_is_no_database_is_named(home: Path, url: str) -> None:
    with pytest.raises(ConfigurationError, match=f"storage_url: '{url}' is not valid: duckdb:///path or"):
        load_settings(storage_url=url).database_url()


@pytest.mark.parametrize("key", ["storage_url", "db_path"])
def test_a_home_of_nobody_is_named(home: Path, key: str) -> None:
    path = "~nobody-of-this-name/x.duckdb"
    flags: dict[str, Any] = {key: path if key == "db_path" else f"duckdb:///{path}"}
    settings = load_settings(**flags)
    with pytest.raises(ConfigurationError, match=f"database {path}: "):
        settings.database_url()


def test_a_path_on_the_command_line_is_stronger_than_a_url_in_the_environment(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SESSION_BUDDY_STORAGE_URL", "duckdb:////a.duckdb")
    assert load_settings(db="/b.duckdb").database_url().file == Path("/b.duckdb")


def test_an_unknown_flag_is_refused(home: Path) -> None:
    with pytest.raises(ConfigurationError, match="colour: unknown setting"):
        load_settings(colour="red")


def _laughs() -> str:
    """A thousand million values in 461 bytes."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 8)}]" for n in range(1, 10)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    "text",
    [
        "port: 2026-99-99\n",
        "port: !!float x\n",
        "port: !!timestamp x\n",
        "[" * 60_000,
        'x: !!int ""\n',
        "x: !!bool q\n",
        _laughs(),
        "port: &x 1\nhost: *x\n",
    ],
)
def test_yaml_of_any_nonsense_is_one_line(home: Path, text: str) -> None:
    user_file(home, text)
    with pytest.raises(ConfigurationError, match="not valid YAML") as caught:
        load_settings()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, lambda path: path.symlink_to("/dev/zero")])
@pytest.mark.parametrize("where", ["settings/local.yaml", ".config/session-buddy/session-buddy.yaml"])
def test_what_is_no_file_is_named_and_not_waited_for(home: Path, where: str, make: Any) -> None:
    path = home / where
    path.parent.mkdir(parents=True)
    make(path)
    with pytest.raises(
        ConfigurationError, match=rf"^{path} cannot be read: (it is no regular file|Is a dir)"
    ):
        load_settings()
    assert not names_database()


def test_a_settings_file_has_a_size(home: Path) -> None:
    user_file(home, "#" * 65536)
    load_settings()
    user_file(home, "#" * 65537)
    with pytest.raises(ConfigurationError, match=r"65536 bytes are allowed$"):
        load_settings()
