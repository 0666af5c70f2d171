"""Refined poses of a half set: a small rotation and shift per particle on top of the input pose, held by a prior.

How wide the prior is depends on the data: poses of a good refinement are off by a fraction of a degree, others by more. Its
width is learned with the rest (empirical Bayes); a prior that is too wide lets poses soak up noise and motion, one that is too
narrow lets the motion soak up pose errors.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from jobtypes.common.products import product_in_full
from jobtypes.common.rotations import rotation_vector_matrices

N_COMPONENTS = 5  # three of a rotation vector in radians, two of a shift in A
# Bounds of the prior's width, as factors on its first guess.
NARROWEST, WIDEST = 0.03, 3.0


class RefinedPoses(nn.Module):
    """Corrections to the input poses.

    Parameters
    ----------
    n_particles
        Particles of the half set.
    rotation_sigma_radians, shift_sigma_angstroms
        First guess of the standard deviations of the normal prior on each component of the correction.

    Attributes
    ----------
    corrections : (n_particles, 5)
        Rotation vector in the image's frame in radians, and shift in A.
    scale : (5,)
        That first guess: the unit in which corrections are of the size of one.
    sigmas : (5,)
        Present widths of the prior.
    curvature : (5, 5)
        Mean curvature of minus the log likelihood of an image, in 1/scale^2.
    """

    corrections: Tensor
    scale: Tensor
    sigmas: Tensor
    curvature: Tensor

    def __init__(self, n_particles: int, rotation_sigma_radians: float = 1.0, shift_sigma_angstroms: float = 1.0) -> None:
        super().__init__()
        scale = torch.tensor([rotation_sigma_radians] * 3 + [shift_sigma_angstroms] * 2)
        self.register_buffer("corrections", torch.zeros(n_particles, N_COMPONENTS))
        self.register_buffer("scale", scale)
        self.register_buffer("sigmas", scale.clone())
        self.register_buffer("curvature", torch.eye(N_COMPONENTS))

    def forward(self, index: Tensor, matrices: Tensor, shifts: Tensor) -> tuple[Tensor, Tensor]:
        """Refined rotations (b, 3, 3) and shifts (b, 2) in A of the particles at `index` (b,)."""
        return corrected(self.corrections[index], matrices, shifts)

    def penalty(self, corrections: Tensor) -> Tensor:
        """(b,) minus the log prior of corrections (b, 5), up to a constant."""
        return 0.5 * (corrections / self.sigmas).square().sum(1)

    def step(self, index: Tensor, corrections: Tensor, gradient: Tensor, rate: float) -> None:
        """Newton's step of the corrections (b, 5) of a batch, times `rate`, with the mean curvature in place of each particle's.

        Parameters
        ----------
        index : (b,)
            The particles.
        corrections : (b, 5)
            Of these particles.
        gradient : (b, 5)
            Of the objective, by the corrections.
        rate
            1 would be Newton's own step; smaller ones average over the batches that shape the model meanwhile.
        """
        precision = self.curvature + torch.diag((self.scale / self.sigmas).square())
        # in units of the scale, (b, 5); a prior makes it solvable, and to ask whether it was would be to wait for a GPU
        step = torch.linalg.solve_ex(precision, (gradient * self.scale).T).result.T
        # no particle takes a leap because it happens to differ from the mean
        longest = (self.sigmas / self.scale).clamp(max=1.0)
        self.corrections[index] = corrections.detach() - rate * torch.clamp(step, -longest, longest) * self.scale

    def learn_prior(self, estimates: Tensor, covariances: Tensor, curvature: Tensor, share: float) -> None:
        """Move the prior's widths towards those that make unrestrained estimates of the corrections most likely.

        An estimate of variance v of a correction drawn from the prior is normal with variance sigma^2 + v. One sigma for the
        rotations, one for the shifts.

        Parameters
        ----------
        estimates : (s, 5)
            Maximum-likelihood corrections of some particles, in units of the scale.
        covariances : (s, 5)
            Their variances.
        curvature : (5, 5)
            Mean curvature, see the class.
        share
            Weight of this estimate against the present width, in the logarithm.
        """
        self.curvature.copy_(curvature)
        for components in (slice(0, 3), slice(3, 5)):
            width = most_likely_width(estimates[:, components].flatten(), covariances[:, components].flatten())
            present = self.sigmas[components] / self.scale[components]
            self.sigmas[components] = self.scale[components] * present ** (1 - share) * width**share


def corrected(corrections: Tensor, matrices: Tensor, shifts: Tensor) -> tuple[Tensor, Tensor]:
    """Rotations (b, 3, 3) and shifts (b, 2) in A with corrections (b, 5) applied."""
    return product_in_full(rotation_vector_matrices(corrections[:, :3]), matrices), shifts + corrections[:, 3:]


def most_likely_width(estimates: Tensor, variances: Tensor) -> Tensor:
    """Width sigma of a normal distribution from estimates (m,) of its draws with variances (m,): maximum marginal likelihood."""
    widths = torch.logspace(0, 1, 61, base=WIDEST / NARROWEST).to(estimates) * NARROWEST
    total = widths.square()[:, None] + variances
    return widths[(total.log() + estimates.square() / total).sum(1).argmin()]
