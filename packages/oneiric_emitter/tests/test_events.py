from typing import Any

import pytest

from oneiric.events import InvalidEvent, SessionEnd, SessionHeartbeat, SessionStart, json_schema, parse_event
from oneiric.testing import start_event

END = {
    "event_type": "session_end",
    "session_id": "shop-20260102-030405-1b9d6bcd",
    "timestamp": "2026-01-02T04:04:05+01:00",
}


def test_a_start_knows_its_session() -> None:
    start = parse_event(start_event())
    assert isinstance(start, SessionStart)
    assert start.session_id == "shop-20260102-030405-1b9d6bcd"
    assert start.session_type == "admin_shell"


def test_times_are_kept_in_utc() -> None:
    assert parse_event(END).timestamp.isoformat() == "2026-01-02T03:04:05+00:00"


def test_an_end_without_an_id_gets_the_same_one_each_time() -> None:
    first, second = parse_event(END), parse_event(END)
    assert isinstance(first, SessionEnd)
    assert isinstance(second, SessionEnd)
    assert first.event_id == second.event_id != ""


def test_a_heartbeat_needs_no_activity() -> None:
    beat = parse_event({**END, "event_type": "session_heartbeat"})
    assert isinstance(beat, SessionHeartbeat)
    assert beat.activity.commands is None


def test_unknown_fields_of_a_newer_emitter_are_kept() -> None:
    event = parse_event(start_event(event_version="1.7", color="blue"))
    assert event.model_extra == {"color": "blue"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("event_version", "2.0"),
        ("event_id", "no uuid"),
        ("event_id", "1b9d6bcd-bbfd-1b2d-9b5d-ab8dfbbd4bed"),
        ("component_name", "a b"),
        ("component_name", "x" * 65),
        ("component_name", "shop\n"),
        ("shell_type", ""),
        ("shell_type", "x" * 101),
        ("session_type", "Admin"),
        ("timestamp", "yesterday"),
        ("timestamp", "2026-01-02T03:04:05"),
        ("timestamp", 1767323045),
        ("timestamp", "0001-01-01T00:00:00+14:00"),
        ("pid", 0),
        ("pid", 4_194_305),
        ("hostname", "x" * 256),
        ("hostname", "a\0b"),
        ("hostname", "a\ud800"),
        ("metadata", {"n": float("nan")}),
        ("metadata", {"s": "\ud800"}),
        ("metadata", {"s": "\0"}),
        ("metadata", {"s": "x" * 16_384}),
        ("metadata", {"1": {"2": {"3": {"4": {"5": {"6": {"7": {"8": {}}}}}}}}}),
        ("metadata", []),
        ("reason", "x" * 201),
        ("actor", "robot"),
        ("parent_session_id", "shop-20261302-030405-1b9d6bcd"),
    ],
)
def test_a_field_out_of_bounds_is_named(field: str, value: Any) -> None:
    with pytest.raises(InvalidEvent) as caught:
        parse_event(start_event(**{field: value}))
    assert caught.value.field == field
    assert "\n" not in str(caught.value)


def test_a_missing_field_is_named() -> None:
    event = start_event()
    del event["user"]
    with pytest.raises(InvalidEvent, match="user: None is not valid: Field required"):
        parse_event(event)


def test_an_escaped_backslash_is_no_nul_character() -> None:
    event = parse_event(start_event(metadata={"path": "C:\\u0000"}))
    assert isinstance(event, SessionStart)
    assert event.metadata == {"path": "C:\\u0000"}


def test_an_event_of_no_known_type_says_which_there_are() -> None:
    with pytest.raises(InvalidEvent, match="session_heartbeat"):
        parse_event({"event_type": "reboot"})


def test_the_published_schema_covers_all_three_events() -> None:
    assert set(json_schema()["discriminator"]["mapping"]) == {
        "session_start",
        "session_heartbeat",
        "session_end",
    }
