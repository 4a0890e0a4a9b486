import json
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oneiric import compose, contract
from oneiric.events import SessionEnd, SessionStart, parse_event

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=600)
ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | ANY_TEXT
    | st.binary(max_size=20)
    | st.just(object()),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(ANY_TEXT, inner, max_size=4) | st.tuples(inner)
    ),
    max_leaves=20,
)


def build(**changes: Any) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "event_id": "1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed",
        "component_name": "shop",
        "shell_type": "ShopShell",
        "timestamp": compose.timestamp(NOW),
        "pid": 1,
        "user": {"username": "ada", "uid": 7, "home": "/"},
        "hostname": "db1",
        "environment": {"python_version": "3", "platform": "Linux", "cwd": "/"},
    }
    return compose.session_start(**{**arguments, **changes})


@given(
    shell_type=ANY_TEXT,
    name=ANY_TEXT,
    reason=ANY_TEXT,
    tty=ANY_TEXT,
    metadata=st.dictionaries(ANY_TEXT, ANYTHING, max_size=5),
)
def test_whatever_a_host_hands_in_the_contract_accepts(
    shell_type: str, name: str, reason: str, tty: str, metadata: dict[str, Any]
) -> None:
    start = build(
        shell_type=shell_type,
        user={"username": name, "uid": 7, "home": name},
        hostname=name,
        environment={"python_version": name, "platform": name, "cwd": name},
        metadata=metadata,
        reason=reason,
        origin={"tty": tty},
    )
    event = parse_event(json.loads(compose.encode(start)))
    assert isinstance(event, SessionStart)


def test_a_shell_type_of_any_kind_is_told_as_text() -> None:
    endless: dict[str, Any] = {}
    endless["again"] = endless
    start = build(shell_type=endless, reason=endless)
    assert (start["shell_type"], start["reason"]) == ("{'again': {...}}", "{'again': {...}}")


def test_long_texts_are_cut_with_an_ellipsis() -> None:
    assert compose.text("x" * 200, 100) == "x" * 99 + "…"
    assert compose.text("x" * 100, 100) == "x" * 100


def test_metadata_too_large_keeps_what_fits_and_says_so() -> None:
    metadata = compose.metadata_object({"version": "1", "dump": "ä" * 100_000, "adapters": ["a"]})
    assert metadata["truncated"] is True
    assert metadata["version"] == "1"
    assert metadata["adapters"] == ["a"]
    assert metadata["dump"].endswith("…")


def test_metadata_of_many_keys_stays_within_its_size() -> None:
    metadata = compose.metadata_object({f"key{n}": "x" * 200 for n in range(900)})
    assert len(json.dumps(metadata, ensure_ascii=False).encode()) <= contract.MAX_METADATA_BYTES


def test_metadata_that_multiplies_with_each_level_is_cut_and_the_rest_kept() -> None:
    looked_at = 0

    class Node(dict[str, Any]):
        def items(self) -> Any:
            nonlocal looked_at
            looked_at += 1
            return super().items()

    node = Node()
    node.update({f"peer{number}": node for number in range(8)})
    rows = [[0] * 1000 for _ in range(1000)]
    metadata = compose.metadata_object({"node": node, "rows": rows, "version": "2.1"})
    assert 8 < looked_at < 2000
    assert metadata["rows"] == "…"
    assert metadata["version"] == "2.1"


def test_cycles_and_foreign_objects_become_text() -> None:
    cycle: dict[str, Any] = {"path": Path("/tmp"), "huge": 2**400, "infinite": math.inf, "set": {1}}
    cycle["self"] = cycle
    event = parse_event(build(metadata=cycle))
    assert isinstance(event, SessionStart)
    assert event.metadata["path"] == "/tmp"
    assert event.metadata["set"] == [1]


def test_an_object_that_cannot_print_itself_is_named_by_its_type() -> None:
    class Broken:
        def __str__(self) -> str:
            raise RuntimeError("no")

    assert compose.text(Broken(), 50) == "<Broken>"


@pytest.mark.parametrize(
    "reason", ["exit", "eof", "exception", "sigterm", "sighup", "exec", "outbox_recovered"]
)
def test_every_end_is_valid(reason: str) -> None:
    end = compose.session_end(
        "shop-20260102-030405-1b9d6bcd", NOW, event_id="1", exit_reason=reason, status="ended", exit_code=3
    )
    event = parse_event(end)
    assert isinstance(event, SessionEnd)
    assert event.exit_code == 3
