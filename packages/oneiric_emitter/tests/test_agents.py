"""Who acts: by hints that agents' tools leave in the environment, unless somebody says so."""

import detect_agent
import pytest

from oneiric import agents
from oneiric.agents import Acting, acting


@pytest.mark.parametrize("variable", agents.HINTS)
def test_the_tools_that_leave_traces_have_the_names_that_others_give_them(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    environ = {variable: "1"} | ({"CLAUDECODE": "1"} if variable == "CLAUDE_CODE_IS_COWORK" else {})
    found = acting(environ, None, at_terminal=True)
    assert (found.actor, found.hint) == ("agent", variable)
    monkeypatch.setattr("os.environ", environ)
    assert detect_agent.determine_agent() == {"is_agent": True, "agent": {"name": found.agent}}


@pytest.mark.parametrize(
    ("environ", "said", "at_terminal", "expected"),
    [
        ({}, None, True, Acting()),
        ({"AI_AGENT": "their-own"}, None, True, Acting("agent", "their-own", "AI_AGENT")),
        ({"CLAUDECODE": ""}, None, True, Acting()),
        ({"CLAUDECODE": "0", "AI_AGENT": " "}, None, True, Acting()),
        ({"CI": "false"}, None, False, Acting()),
        ({"CI": "true"}, None, False, Acting("automation", None, "CI")),
        ({"CI": "true"}, None, True, Acting()),
        ({"CI": "true", "CLAUDECODE": "1"}, None, False, Acting("agent", "claude_code", "CLAUDECODE")),
        ({"CLAUDECODE": "1", "ONEIRIC_ACTOR": "human"}, None, True, Acting("human")),
        ({"CLAUDECODE": "1", "ONEIRIC_ACTOR": "agent"}, None, True, Acting("agent", "claude_code")),
        (
            {"CLAUDECODE": "1", "ONEIRIC_ACTOR": "robot"},
            None,
            True,
            Acting("agent", "claude_code", "CLAUDECODE"),
        ),
        ({"ONEIRIC_ACTOR": "human"}, "automation", True, Acting("automation")),
    ],
)
def test_what_is_said_counts_before_what_is_found(
    environ: dict[str, str],
    said: str | None,
    at_terminal: bool,  # noqa: FBT001
    expected: Acting,
) -> None:
    assert acting(environ, said, at_terminal=at_terminal) == expected
