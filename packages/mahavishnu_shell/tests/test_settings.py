"""Layers of settings, and what is said about a wrong one."""

from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path

import pytest
import yaml

from mahavishnu.errors import SettingsError
from mahavishnu.settings import LOCAL_FILE, PROJECT_FILE, SECTIONS, Settings, load

OFF = "session:\n  enabled: false\n"
ON = "session:\n  enabled: true\n"
SHIPPED = Path(__file__).parents[3] / PROJECT_FILE


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "config" / "mahavishnu").mkdir(parents=True)
    return tmp_path / "config"


@pytest.fixture
def user_file(config: Path) -> Path:
    return config / "mahavishnu" / "mahavishnu.yaml"


def test_without_any_layer_the_defaults_hold(work: Path, config: Path) -> None:
    found = load({}, work, config)
    assert found == Settings()
    assert found.place("session", "enabled") == "the defaults"


def test_the_shipped_file_is_equal_to_the_defaults_and_complete() -> None:
    shipped = yaml.safe_load(SHIPPED.read_text())
    assert shipped == {name: asdict(section()) for name, section in SECTIONS.items()}
    assert {field.name for field in fields(Settings)} == {*SECTIONS, "layers", "unknown"}
    assert "session" in SHIPPED.read_text()


def test_each_layer_is_stronger_than_the_next(work: Path, config: Path, user_file: Path) -> None:
    (work / PROJECT_FILE).write_text(OFF)
    assert load({}, work, config).place("session", "enabled") == f"{PROJECT_FILE}, line 2"
    user_file.write_text(ON)
    assert load({}, work, config).session.enabled
    (work / LOCAL_FILE).write_text(OFF)
    assert load({}, work, config).place("session", "enabled") == "settings/local.yaml, line 2"
    environ = {"MAHAVISHNU_SESSION__ENABLED": "true"}
    found = load(environ, work, config)
    assert (found.session.enabled, found.place("session", "enabled")) == (True, "MAHAVISHNU_SESSION__ENABLED")
    found = load(environ, work, config, {("session", "enabled"): False})
    assert (found.session.enabled, found.place("session", "enabled")) == (False, "--no-tracking")


def test_layers_set_single_switches(work: Path, config: Path) -> None:
    (work / PROJECT_FILE).write_text("adapters:\n  prefect: false\nshell:\n")
    found = load({"MAHAVISHNU_ADAPTERS__AGNO": "off"}, work, config)
    assert asdict(found.adapters) == {"prefect": False, "llamaindex": True, "agno": False}
    assert [layer.place.name for layer in found.layers] == ["environment", "settings/mahavishnu.yaml"]


@pytest.mark.parametrize("text", ["", "# nothing\n", "session:\n", "---\n"])
def test_a_file_may_be_empty(work: Path, config: Path, text: str) -> None:
    (work / PROJECT_FILE).write_text(text)
    assert load({}, work, config) == Settings()


def test_other_components_may_have_sections_in_the_local_file_and_variables(work: Path, config: Path) -> None:
    (work / LOCAL_FILE).write_text(f"port: 1\nserver:\n  host: x\n{OFF}")
    environ = {"MAHAVISHNU_HOME": "/x", "MAHAVISHNU_OTHER__KEY": "1", "MAHAVISHNU_SESSION__ENABLED": ""}
    assert not load(environ, work, config).session.enabled


def test_a_file_of_another_user_does_not_count(
    work: Path, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (work / PROJECT_FILE).write_text(OFF)
    uid = (work / PROJECT_FILE).stat().st_uid
    monkeypatch.setattr("os.geteuid", lambda: uid + 1)
    assert load({}, work, config) == Settings()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("sesion: {}", "line 1: sesion is no setting; did you mean session?"),
        ("# x\nsession:\n  enable: true", "line 3: session.enable is no setting; did you mean enabled?"),
        ("session:\n  enabled: 7", "line 2: session.enabled is 7; allowed: true, false"),
        ("session:\n  enabled:", "line 2: session.enabled is None; allowed: true, false"),
        ("session:\n  enabled: [true]", "line 2: session.enabled is [True]; allowed: true, false"),
        ("session: 3", "line 1: session is 3; allowed in it: enabled, ask_person"),
        ("adapters: [x]", "line 1: adapters is ['x']; allowed in it: prefect, llamaindex, agno"),
        ("session: {", "line 1: not valid YAML: expected the node content, but found '<stream end>'"),
        ("a: b\n c: d", "line 2: not valid YAML: mapping values are not allowed here"),
        ("session: &x\n  enabled: *x", "line 2: not valid YAML: an alias, or more than 8 levels"),
        ("session: !!python/name:os.system", "line 1: not valid YAML: could not determine a constructor"),
    ],
)
def test_a_wrong_file_is_one_line_with_the_place_and_what_is_allowed(
    work: Path, config: Path, text: str, complaint: str
) -> None:
    (work / PROJECT_FILE).write_text(text)
    with pytest.raises(SettingsError) as caught:
        load({}, work, config)
    assert str(caught.value).startswith(f"settings/mahavishnu.yaml, {complaint}")
    assert "\n" not in str(caught.value)


def test_a_file_without_sections_is_refused(work: Path, config: Path) -> None:
    (work / PROJECT_FILE).write_text("- 1\n")
    with pytest.raises(
        SettingsError, match=r"^settings/mahavishnu.yaml: lines like `key: value` are allowed, not a list$"
    ):
        load({}, work, config)


def test_a_file_that_is_no_text_is_named(work: Path, config: Path, user_file: Path) -> None:
    user_file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SettingsError, match=r"mahavishnu\.yaml cannot be read: "):
        load({}, work, config)
    user_file.unlink()
    user_file.mkdir()
    with pytest.raises(SettingsError, match=r"mahavishnu\.yaml cannot be read: it is no regular file"):
        load({}, work, config)


@pytest.mark.parametrize(
    ("environ", "complaint"),
    [
        (
            {"MAHAVISHNU_SESSION__ENABLED": "maybe"},
            "MAHAVISHNU_SESSION__ENABLED: session.enabled is 'maybe'; allowed: true, false",
        ),
        *(
            ({name: "false"}, f"{name} is no setting; did you mean {meant}?")
            for name, meant in {
                "MAHAVISHNU_SESION__ENABLED": "MAHAVISHNU_SESSION__ENABLED",
                "MAHAVISHNU_SESSION__ENABLD": "MAHAVISHNU_SESSION__ENABLED",
                "MAHAVISHNU_ADAPTER__AGNO": "MAHAVISHNU_ADAPTERS__AGNO",
            }.items()
        ),
    ],
)
def test_a_wrong_variable_is_named(
    work: Path, config: Path, environ: Mapping[str, str], complaint: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        load(environ, work, config)
    assert str(caught.value) == complaint


def test_settings_of_earlier_versions_are_passed_over_and_told(work: Path, config: Path) -> None:
    (work / PROJECT_FILE).write_text(
        f"{OFF}  checkpoint_interval: 60\n  auto_resume: yes\nqc:\n  min_score: 80\n1: 2\nserver_name: x\n"
    )
    found = load({"MAHAVISHNU_SESSION__CHECKPOINT_INTERVAL": "60", "MAHAVISHNU_QC": "1"}, work, config)
    assert not found.session.enabled
    passed_over = "is no setting of this version and is passed over"
    assert list(found.unknown) == [
        f"MAHAVISHNU_SESSION__CHECKPOINT_INTERVAL {passed_over}",
        f"settings/mahavishnu.yaml, line 3: session.checkpoint_interval {passed_over}",
        f"settings/mahavishnu.yaml, line 4: session.auto_resume {passed_over}",
        f"settings/mahavishnu.yaml, line 5: qc {passed_over}",
        f"settings/mahavishnu.yaml, line 7: 1 {passed_over}",
        f"settings/mahavishnu.yaml, line 8: server_name {passed_over}",
    ]


@pytest.mark.parametrize("both", ["true", "false"])
def test_one_underscore_turns_tracking_off_too(work: Path, config: Path, both: str) -> None:
    assert not load({"MAHAVISHNU_SESSION_ENABLED": "false"}, work, config).session.enabled
    assert not load({"mahavishnu_session__enabled": "false"}, work, config).session.enabled
    environ = {"MAHAVISHNU_SESSION__ENABLED": both, "MAHAVISHNU_SESSION_ENABLED": "false"}
    assert not load(environ, work, config).session.enabled
    assert not load(dict(reversed(environ.items())), work, config).session.enabled
    with pytest.raises(SettingsError, match=r"^MAHAVISHNU_SHELL_CLI_COMMANDS: shell.cli_commands is 'x';"):
        load({"MAHAVISHNU_SHELL_CLI_COMMANDS": "x"}, work, config)


def test_the_section_is_a_switch_too(work: Path, config: Path) -> None:
    assert not load({"MAHAVISHNU_SESSION": "false"}, work, config).session.enabled
    (work / PROJECT_FILE).write_text("session: off\n")
    assert not load({}, work, config).session.enabled
    assert load({}, work, config).place("session", "enabled") == f"{PROJECT_FILE}, line 1"
    assert load({"MAHAVISHNU_SESSION": "on"}, work, config).session.enabled


def test_who_turned_it_off_is_named(work: Path, config: Path) -> None:
    both = {"MAHAVISHNU_SESSION__ENABLED": "true", "MAHAVISHNU_SESSION": "0"}
    for environ in (both, dict(reversed(both.items()))):
        assert load(environ, work, config).place("session", "enabled") == "MAHAVISHNU_SESSION"
    found = load({"MAHAVISHNU_SESSION_ID": "x"}, work, config)
    assert (found.session.enabled, found.layers) == (True, ())
