"""The inverse networks of a job as the inverse map of a deformed reconstruction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from jobtypes.common.digests import digest
from jobtypes.dynamight.backprojection.half_problem import Inverse
from jobtypes.dynamight.backprojection.warp import Direction
from jobtypes.dynamight.model import inverse_displacement
from jobtypes.dynamight.model.inverse_displacement import InverseHalf
from jobtypes.dynamight.model.result import ForwardResult
from relion_jobs.contract.running_job import RunningJob


@dataclass(frozen=True)
class Inverses:
    """The inverse map of each half set.

    Attributes
    ----------
    of_half
        By half.
    identity
        A name for these very networks.
    """

    of_half: Mapping[int, Inverse]
    identity: str

    def asked_by_bins(self, half: int, n_bins: int, job: RunningJob) -> Inverse:
        """Return the map of a half set, to be asked once for each bin: it says how far that is, and hears a wish to stop."""
        done = 0

        def consensus_positions(points: Tensor, coefficients: Tensor) -> Tensor:
            nonlocal done
            job.check_abort()
            found = self.of_half[half](points, coefficients)
            done += 1
            job.progress(f"Half {half}: inverse deformations of bins", done, n_bins, "bins")
            return found

        return consensus_positions


def load_inverses(
    job_directory: Path, forward: ForwardResult, field: Direction, device: torch.device
) -> tuple[Inverses | None, str]:
    """Inverse map of each half where the user wants it and there is one, and a sentence that says which field is used.

    Raises
    ------
    UserError
        The inverse belongs to another checkpoint of the forward deformations, or its file is damaged.
    """
    if field == "forward":
        return None, "The forward deformations are used as they are; no inverse is needed."
    trained = inverse_displacement.load_inverses(job_directory, forward, device)
    if trained is None:
        return None, "There are no inverse deformations in this job: the forward deformations are used instead, which need none."
    identity = digest(*(tensor.cpu() for half in sorted(trained) for tensor in trained[half].network.state_dict().values()))
    maps = {half: _as_callable(inverse) for half, inverse in trained.items()}
    return Inverses(maps, identity), "The inverse deformations are used."


def _as_callable(inverse: InverseHalf) -> Inverse:
    def consensus_positions(points: Tensor, coefficients: Tensor) -> Tensor:
        return inverse.consensus_positions(points, coefficients.to(points))

    return consensus_positions
