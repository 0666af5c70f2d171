"""Refined poses of a half set: a small rotation and shift per particle on top of the input pose, held by a prior."""

from __future__ import annotations

from torch import Tensor, nn

from jobtypes.common.rotations import rotation_vector_matrices


class RefinedPoses(nn.Module):
    """Corrections to the input poses.

    Parameters
    ----------
    n_particles
        Particles of the half set.
    rotation_sigma_radians, shift_sigma_angstroms
        Standard deviations of the Gaussian prior on each component of the correction.
    """

    def __init__(self, n_particles: int, rotation_sigma_radians: float, shift_sigma_angstroms: float) -> None:
        super().__init__()
        self.rotation_sigma, self.shift_sigma = rotation_sigma_radians, shift_sigma_angstroms
        # in units of the prior's sigma, so that one learning rate fits both; sparse: a batch touches its own particles only
        self.corrections = nn.Embedding(n_particles, 5, sparse=True)
        nn.init.zeros_(self.corrections.weight)

    def forward(self, index: Tensor, matrices: Tensor, shifts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Refined poses of a batch.

        Parameters
        ----------
        index
            (b,) particles of the half set.
        matrices, shifts
            Input rotations (b, 3, 3) and shifts (b, 2) in A.

        Returns
        -------
        tuple
            Refined rotations (b, 3, 3), refined shifts (b, 2) in A, and minus the log prior of each particle (b,).
        """
        correction = self.corrections(index)  # (b, 5)
        rotations = rotation_vector_matrices(correction[:, :3] * self.rotation_sigma)
        penalty = 0.5 * correction.square().sum(1)
        return rotations @ matrices, shifts + correction[:, 3:] * self.shift_sigma, penalty
