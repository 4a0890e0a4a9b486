"""What need not be looked up."""

from hypothesis import given
from hypothesis import strategies as st

from session_buddy.store.duckdb.newest import Newest

IDS = st.builds(
    lambda component, second, event: f"{component}-20260102-0304{second:02}-{event:08x}",
    st.sampled_from(["shop", "z-1-20300101-000000-0"]),
    st.integers(0, 5),
    st.integers(0, 3),
)


@given(st.lists(st.lists(IDS)), IDS)
def test_what_was_added_may_be_known_and_what_is_later_is_not(batches: list[list[str]], other: str) -> None:
    newest = Newest()
    for batch in batches:
        newest.add(batch)
    known = {session_id for batch in batches for session_id in batch}
    assert all(newest.may_know(session_id) for session_id in known)
    latest = max((session_id[-24:-9] for session_id in known), default="")
    if other not in known and other[-24:-9] >= latest:
        assert not newest.may_know(other)
