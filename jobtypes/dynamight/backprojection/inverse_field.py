"""The inverse networks of a job as the inverse map of a deformed reconstruction."""

from __future__ import annotations

from pathlib import Path

import torch

from jobtypes.dynamight.backprojection.half_problem import Inverse
from jobtypes.dynamight.backprojection.warp import Direction
from jobtypes.dynamight.model.result import ForwardResult
from relion_jobs.contract.errors import UserError

INVERSE_CHECKPOINT = Path("inverse_deformations/inv_chkpt.pth")

Inverses = dict[int, Inverse]


def load_inverses(
    job_directory: Path, forward: ForwardResult, field: Direction, device: torch.device
) -> tuple[Inverses | None, str]:
    """Inverse map of each half where the user wants it and there is one, and a sentence that says which field is used.

    Raises
    ------
    UserError
        The inverse belongs to another checkpoint.
    """
    path = job_directory / INVERSE_CHECKPOINT
    if field == "forward":
        return None, "The forward deformations are used as they are; no inverse is needed."
    if not path.is_file():
        return None, "There are no inverse deformations in this job: the forward deformations are used instead, which need none."
    raise UserError(f"The inverse deformations in {path} cannot be used yet; choose the forward field.")
