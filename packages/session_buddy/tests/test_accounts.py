"""Names of accounts, asked of whoever knows them, for as long as there is time."""

import os
from threading import Event
from typing import Any

import pytest

from oneiric import facts
from session_buddy.intake.accounts import Accounts, name_of
from tests.samples import start_event

HERE = facts.process(os.getpid()) or {}
NAMES = {5001: "ada", 5002: "bob", 5003: "a\033[31m"}


def start(uid: object, name: object, **changes: Any) -> dict[str, Any]:
    return start_event(user={"username": name, "uid": uid}, process=HERE, **changes)


def users(events: list[Any]) -> list[object]:
    return [event["user"]["username"] for event in events]


def test_numbers_become_names_and_all_else_stays() -> None:
    accounts = Accounts(NAMES.get, seconds=60)
    login = start(
        0,
        "root",
        origin={"login_uid": 5002, "login_name": "5002"},
        person={"name": "5002", "evidence": "login"},
    )
    batch = [start(5001, "5001"), start(5001, "eve"), start(5003, "5003"), start(5004, "5004"), login]
    named: list[Any] = accounts.named(batch)
    assert users(named) == ["ada", "eve", "5003", "5004", "root"]
    assert (named[4]["origin"]["login_name"], named[4]["person"]["name"]) == ("bob", "bob")
    assert named[1] is batch[1]
    assert accounts.lack_names(batch)
    assert not accounts.lack_names([batch[1]])


@pytest.mark.parametrize(
    "odd",
    [
        None,
        [],
        {"event_type": "session_start", "user": 7},
        start([], "5001"),
        start(5001, []),
        start(-1, "-1"),
        start(2**70, str(2**70)),
        start(5001, "5001") | {"process": None},
        start(5001, "5001") | {"event_type": "session_end"},
        start(5001, "5001")
        | {"process": {**(facts.process(os.getpid()) or {}), "user_namespace": "user:[1]"}},
        start(5001, "5001") | {"process": {**(facts.process(os.getpid()) or {}), "boot_id": "another"}},
    ],
)
def test_what_is_no_start_of_this_host_is_passed_over(odd: object) -> None:
    accounts = Accounts(NAMES.get, seconds=60)
    assert not accounts.lack_names([odd])
    assert accounts.named([odd]) == [odd]


def test_a_slow_directory_is_waited_for_once_its_limit_is_over_the_number_stands() -> None:
    answers = Event()

    def slow(uid: int) -> str | None:
        answers.wait(60)
        return NAMES.get(uid)

    accounts = Accounts(slow, seconds=0.01)
    assert users(accounts.named([start(5001, "5001")])) == ["5001"]
    answers.set()
    while accounts.named([start(5001, "5001")])[0]["user"]["username"] != "ada":  # type: ignore[index]
        pass


def test_who_is_unknown_is_asked_for_again() -> None:
    names: dict[int, str] = {}
    accounts = Accounts(names.get, seconds=60)
    assert users(accounts.named([start(5001, "5001")])) == ["5001"]
    names[5001] = "ada"
    assert users(accounts.named([start(5001, "5001")])) == ["ada"]


def test_a_person_by_word_alone_is_no_number() -> None:
    asked = start(5001, "ada", person={"name": "5001", "evidence": "asked"})
    also = start(
        5001,
        "5001",
        person={"name": "5001", "evidence": "account", "also": [{"name": "ada", "evidence": "claimed"}, 7]},
    )
    named: list[Any] = Accounts(NAMES.get, seconds=60).named([asked, also])
    assert named[0]["person"]["name"] == "5001"
    assert named[1]["person"] == {"name": "ada", "evidence": "account"}
    by_sudo: dict[str, Any] = {
        "name": "5002",
        "evidence": "sudo",
        "also": [{"name": "bob", "evidence": "claimed"}],
    }
    shared = start(5001, "5001", person={"name": "ada", "evidence": "claimed"})
    named = [*Accounts(NAMES.get, seconds=60).named([start(0, "root", person=by_sudo), shared])]
    assert named[0]["person"] == {"name": "bob", "evidence": "sudo"}
    assert named[1]["person"] is None


def test_what_the_account_file_has_is_no_question_for_the_directory() -> None:
    # The shell has read it, too, and could not use it.
    assert name_of(0) is None
    assert name_of(2**32 - 2) is None
