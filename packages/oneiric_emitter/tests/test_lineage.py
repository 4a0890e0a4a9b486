import os
from collections.abc import Mapping

import pytest

from oneiric import SessionEventEmitter
from oneiric.lineage import VARIABLE, Lineage

PARENT = "shop-20260102-030405-1b9d6bcd"


def test_a_living_ancestor_is_the_parent() -> None:
    assert Lineage({VARIABLE: f"{PARENT}:{os.getppid()}"}).parent == PARENT


@pytest.mark.parametrize(
    "claim", ["", "nonsense", PARENT, f"{PARENT}:", f"{PARENT}:x", "nonsense:{pid}", f"{PARENT}:4194304"]
)
def test_a_claim_that_cannot_be_believed_is_no_parent(claim: str) -> None:
    assert Lineage({VARIABLE: claim.format(pid=os.getpid())}).parent is None


@pytest.mark.parametrize("inherited", [f"{PARENT}:{os.getppid()}", "nonsense"])
def test_what_was_inherited_is_told_again_after_the_end(
    environ: Mapping[str, str], monkeypatch: pytest.MonkeyPatch, inherited: str
) -> None:
    monkeypatch.setenv(VARIABLE, inherited)
    emitter = SessionEventEmitter("shop")
    session_id = emitter.start_session("x")
    assert os.environ[VARIABLE] == f"{session_id}:{os.getpid()}"
    emitter.end_session()
    assert os.environ[VARIABLE] == inherited
    emitter.shutdown()


def test_a_session_in_another_environment_announces_nothing(environ: Mapping[str, str]) -> None:
    emitter = SessionEventEmitter("shop", environ=dict(environ))
    emitter.start_session("x")
    assert VARIABLE not in os.environ
    emitter.shutdown()
