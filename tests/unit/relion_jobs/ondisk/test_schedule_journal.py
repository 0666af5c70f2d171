"""The journal of a schedule."""

from __future__ import annotations

import pytest

from relion_jobs.contract.errors import UserError
from relion_jobs.ondisk import schedule_journal
from relion_jobs.ondisk.schedule_journal import JOURNAL, Journal

ENTRY = Journal("process 1 on host since 2026-11-22T12:00:00+0000", ("External/job001/",), 2, 3, 0.5, 1.25, True)


def test_a_journal_is_there_until_its_schedule_ends(tmp_path):
    assert schedule_journal.read(tmp_path) is None
    schedule_journal.begin(tmp_path)
    schedule_journal.write(tmp_path, ENTRY)
    assert schedule_journal.read(tmp_path) == ENTRY
    schedule_journal.end(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_schedule_that_was_stopped_is_not_taken_up(tmp_path):
    schedule_journal.begin(tmp_path)
    schedule_journal.write(tmp_path, ENTRY)
    assert schedule_journal.stop(tmp_path)
    assert not schedule_journal.stop(tmp_path)
    assert schedule_journal.read(tmp_path) is None


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"owner": "x", "jobs": 3}', '{"owner": "x", "jobs": [], "round": "one"}', "\x00"]
)
def test_a_damaged_journal_is_refused_in_one_sentence(tmp_path, text):
    schedule_journal.begin(tmp_path)
    (tmp_path / JOURNAL).write_text(text)
    with pytest.raises(UserError, match="is damaged; remove it"):
        schedule_journal.read(tmp_path)
