"""Half-set 0: the particles that trained nothing, as the models of both halves see them."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jobtypes.dynamight.model.disagreement import FEWEST_HELD_OUT, Disagreement, TwoMotions, held_out_motions
from jobtypes.dynamight.model.result import ForwardResult
from relion_jobs.contract.errors import UserError


class HeldOutParticles:
    """The held-out particles of both halves: first those held out of half 1, then of half 2.

    Parameters
    ----------
    forward
        Both halves, after a training that has ended.
    """

    def __init__(self, forward: ForwardResult) -> None:
        self.forward, parts = forward, forward.halves
        self.rows = np.concatenate([part.rows[part.held_out] for part in parts.values()])
        self.half = np.concatenate([np.full(int(part.held_out.sum()), half) for half, part in parts.items()])

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def motions(self) -> dict[int, TwoMotions]:
        """Half h -> both models' motions of the particles held out of h, at the Gaussians of h."""
        return {half: held_out_motions(self.forward, half) for half in self.forward.halves}

    @cached_property
    def disagreements(self) -> dict[int, Disagreement]:
        """Half h -> disagreement about the particles held out of h."""
        return {half: motions.disagreement() for half, motions in self.motions.items()}

    @property
    def errors(self) -> NDArray[np.float64]:
        """(m,) disagreement about each particle, rms over the Gaussians, A."""
        return torch.cat([found.particle_error for found in self.disagreements.values()]).numpy()

    @property
    def motion(self) -> NDArray[np.float64]:
        """(m,) rms displacement in A of each particle's Gaussians, by the model of the half that it is held out of."""
        parts = self.forward.halves.values()
        return np.concatenate([part.rms_displacement.cpu().double().numpy()[part.held_out] for part in parts])

    def gaussian_errors(self, half: int, particle: int) -> Tensor:
        """(n,) disagreement in A about one of the particles held out of a half, at each Gaussian of that half."""
        errors: Tensor = self.motions[half].difference(particle).norm(dim=1)
        return errors


def held_out_particles(forward: ForwardResult) -> HeldOutParticles:
    """Open half-set 0.

    Raises
    ------
    UserError
        A half has fewer than two held-out particles, or the checkpoint does not say what the other half's model makes of them.
    """
    for half, part in forward.halves.items():
        if int(part.held_out.sum()) < FEWEST_HELD_OUT:
            raise UserError(
                f"Half {half} has {int(part.held_out.sum())} held-out particle(s), and half-set 0 compares the halves on these; "
                f"expected at least {FEWEST_HELD_OUT}. Show half set 1 or 2 instead."
            )
        if part.latent_by_other is None:
            raise UserError(
                f"{forward.path} is of a training that has not ended, and half-set 0 shows what is compared at its end; continue "
                "the forward deformations to their end and take the last checkpoint, or show half set 1 or 2."
            )
    return HeldOutParticles(forward)
