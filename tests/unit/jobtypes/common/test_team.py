"""What a process of a team fails with is what all of it fail with."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist

from jobtypes.common.team import Team
from relion_jobs.contract.errors import JobFailed, UserError


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (UserError("Give another file."), UserError, "^Give another file.$"),
        (MemoryError("8 GB"), MemoryError, "^8 GB$"),
        (torch.OutOfMemoryError("CUDA out of memory."), MemoryError, "^CUDA out of memory.$"),
        (ValueError("no"), JobFailed, "^Process 2 of 2 failed with ValueError: no$"),
    ],
)
def test_a_failure_is_told_as_what_it_is(error, kind, words):
    board = dist.HashStore()
    Team(rank=1, count=2, board=board).tell(error)
    with pytest.raises(kind, match=words):
        Team(rank=0, count=2, board=board).hear()
