import doctest
import uuid
from datetime import UTC, datetime, timedelta, timezone

import pytest

from oneiric import contract


def test_examples_run() -> None:
    assert doctest.testmod(contract).failed == 0


def test_a_session_id_names_the_start_in_utc() -> None:
    tokyo = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=9)))
    session_id = contract.session_id_for("shop", tokyo, "1B9D6BCD-bbfd-4b2d-9b5d-ab8dfbbd4bed")
    assert session_id == "shop-20260101-180405-1b9d6bcd"
    assert contract.start_time_of(session_id) == datetime(2026, 1, 1, 18, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    "wrong", ["", "shop", "shop-20261301-000000-1b9d6bcd", "a b-20260101-000000-1b9d6bcd"]
)
def test_what_is_no_session_id_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - datetime words its own refusals
        contract.start_time_of(wrong)


def test_two_finders_of_one_orphan_derive_one_end() -> None:
    one = contract.end_event_id("shop-20260101-180405-1b9d6bcd", "outbox_recovered")
    assert one == contract.end_event_id("shop-20260101-180405-1b9d6bcd", "outbox_recovered")
    assert one != contract.end_event_id("shop-20260101-180405-1b9d6bcd", "process_gone")


def test_ids_of_events_are_uuids() -> None:
    random = uuid.UUID(contract.new_event_id())
    assert (random.version, random.variant) == (4, uuid.RFC_4122)
    derived = contract.end_event_id("shop-20260101-180405-1b9d6bcd", "operator")
    name = "urn:session:shop-20260101-180405-1b9d6bcd:operator"
    assert derived == str(uuid.uuid5(uuid.NAMESPACE_URL, name))
