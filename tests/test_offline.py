"""The main job with no server at all, and what a server started later makes of it."""

import pexpect

from tests.world import World, eventually


def leave(child: "pexpect.spawn[str]") -> None:
    child.sendline("exit()")
    child.expect(pexpect.EOF)
    child.wait()


def test_without_a_server_the_session_is_listed_and_shown(world: World) -> None:
    child = world.shell()
    leave(child)
    (session,) = world.sessions("--type", "admin_shell")
    assert (session["component"], session["status"]) == ("mahavishnu", "ended")
    shown = world.run("session-buddy", "show-session", session["session_id"]).stdout
    assert "mahavishnu" in shown
    assert "duration_seconds" in shown


def test_a_server_started_later_lists_the_session_once(world: World) -> None:
    leave(world.shell())
    before = world.sessions()
    world.start_server()
    assert [s["session_id"] for s in world.sessions()] == [s["session_id"] for s in before]


def test_a_server_started_first_thing_takes_in_what_waited(world: World) -> None:
    leave(world.shell())
    world.start_server()
    (session,) = eventually(world.sessions)
    assert session["status"] == "ended"


def test_a_live_session_is_listed_without_a_server(world: World) -> None:
    child = world.shell()
    listed = world.sessions()
    leave(child)
    assert [session["status"] for session in listed] == ["active"]
    assert [session["status"] for session in world.sessions()] == ["ended"]


def test_the_banner_says_that_no_server_answered(world: World) -> None:
    child = world.shell()
    assert "Session Tracking: ✓ Enabled (offline, kept in the outbox)" in world.banner_of(child)
    leave(child)


def test_a_server_that_comes_while_the_shell_lives_hears_of_it(world: World) -> None:
    child = world.shell()
    world.start_server()
    (session,) = eventually(world.sessions)
    assert session["status"] == "active"
    leave(child)
    assert [s["status"] for s in eventually(lambda: [x for x in world.sessions() if x["end_time"]])] == [
        "ended"
    ]
