from collections.abc import Iterator
from pathlib import Path

import pytest

from oneiric.journal import Journal
from oneiric.outbox import claim, journals, move, path_for
from oneiric.testing import start_event


@pytest.fixture
def journal(folder: Path) -> Iterator[Journal]:
    journal = Journal(path_for(folder, "shop-20260102-030405-1b9d6bcd"), start_event(), 0.0)
    yield journal
    journal.close()


def test_a_live_journal_cannot_be_claimed(journal: Journal) -> None:
    with claim(journal.path) as claimed:
        assert not claimed
    journal.close()
    with claim(journal.path) as claimed:
        assert claimed


def test_a_journal_that_was_moved_meanwhile_cannot_be_claimed(journal: Journal) -> None:
    journal.close()
    with pytest.raises(FileNotFoundError), claim(journal.path.with_name("gone.jsonl")):
        pass


def test_moving_twice_overwrites(journal: Journal, folder: Path) -> None:
    move(journal.path, "done")
    again = Journal(journal.path, start_event(), 0.0)
    move(again.path, "done")
    again.close()
    assert (journals(folder), len(journals(folder / "done"))) == ([], 1)
