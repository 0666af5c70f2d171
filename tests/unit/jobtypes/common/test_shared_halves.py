from __future__ import annotations

from types import SimpleNamespace

import pytest

from jobtypes.common.shared_halves import device_of, halves_of, share_halves
from jobtypes.common.team import Team
from relion_jobs.contract.errors import UserError


def job_without_companions() -> SimpleNamespace:
    said: list[str] = []
    return SimpleNamespace(start_companion=lambda environment: None, report=said.append, said=said)


@pytest.mark.parametrize("wanted", [1, 2])
def test_a_process_that_gets_no_others_does_all(wanted):
    worked = []
    share_halves(lambda team: worked.append((team.count, halves_of(team))), job_without_companions(), lambda: wanted)
    assert worked == [(1, (1, 2))]


def test_a_failure_of_the_work_is_passed_on():
    def fail(team: Team) -> None:
        raise UserError("No particles.")

    with pytest.raises(UserError, match="No particles"):
        share_halves(fail, job_without_companions(), lambda: 1)


def test_a_process_alone_says_where_it_computes():
    job = job_without_companions()
    assert device_of("", Team(), job).type in ("cpu", "cuda")
    assert len(job.said) == 1
