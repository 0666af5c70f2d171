"""Refined poses of a half set: a small rotation and shift per particle on top of the input pose, held by a prior.

A particle of one image is moved in its plane; one of a tilt series in space, so that all its images move with it.

How wide the prior is depends on the data: poses of a good refinement are off by a fraction of a degree, others by more. Its
width is learned with the rest (empirical Bayes); a prior that is too wide lets poses soak up noise and motion, one that is too
narrow lets the motion soak up pose errors.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from jobtypes.common.products import product_in_full
from jobtypes.common.rotations import rotation_vector_matrices

N_TURNS = 3  # first components of a correction: a rotation vector in radians; the others are a shift in A
# Bounds of the prior's width, as factors on its first guess.
NARROWEST, WIDEST = 0.03, 3.0


class RefinedPoses(nn.Module):
    """Corrections to the input poses.

    Parameters
    ----------
    n_particles
        Particles of the half set.
    n_shifts
        Components of a shift: 2, or 3 of particles with several images.
    rotation_sigma_radians, shift_sigma_angstroms
        First guess of the standard deviations of the normal prior on each component of the correction.

    Attributes
    ----------
    corrections : (n_particles, m)
        Rotation vector in the frame of the shifts in radians, and shift in A.
    scale : (m,)
        That first guess: the unit in which corrections are of the size of one.
    sigmas : (m,)
        Present widths of the prior.
    curvature : (m, m)
        Mean curvature of minus the log likelihood of an image, in 1/scale^2.
    """

    corrections: Tensor
    scale: Tensor
    sigmas: Tensor
    curvature: Tensor

    def __init__(
        self,
        n_particles: int,
        rotation_sigma_radians: float = 1.0,
        shift_sigma_angstroms: float = 1.0,
        *,
        n_shifts: int = 2,
    ) -> None:
        super().__init__()
        scale = torch.tensor([rotation_sigma_radians] * N_TURNS + [shift_sigma_angstroms] * n_shifts)
        self.register_buffer("corrections", torch.zeros(n_particles, len(scale)))
        self.register_buffer("scale", scale)
        self.register_buffer("sigmas", scale.clone())
        self.register_buffer("curvature", torch.eye(len(scale)))

    def forward(self, index: Tensor, matrices: Tensor, shifts: Tensor, views: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Refined rotations and shifts in A of the particles at `index` (b,); see `corrected`."""
        return corrected(self.corrections[index], matrices, shifts, views)

    @property
    def n_components(self) -> int:
        """Components m of a correction."""
        return len(self.scale)

    def penalty(self, corrections: Tensor) -> Tensor:
        """(b,) minus the log prior of corrections (b, m), up to a constant."""
        return 0.5 * (corrections / self.sigmas).square().sum(1)

    def step(self, index: Tensor, corrections: Tensor, gradient: Tensor, rate: float) -> None:
        """Newton's step of the corrections (b, m) of a batch, times `rate`, with the mean curvature in place of each particle's.

        Parameters
        ----------
        index : (b,)
            The particles.
        corrections : (b, m)
            Of these particles.
        gradient : (b, m)
            Of the objective, by the corrections.
        rate
            1 would be Newton's own step; smaller ones average over the batches that shape the model meanwhile.
        """
        precision = self.curvature + torch.diag((self.scale / self.sigmas).square())
        # in units of the scale, (b, m); a prior makes it solvable, and to ask whether it was would be to wait for a GPU
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
        estimates : (s, m)
            Maximum-likelihood corrections of some particles, in units of the scale.
        covariances : (s, m)
            Their variances.
        curvature : (m, m)
            Mean curvature, see the class.
        share
            Weight of this estimate against the present width, in the logarithm.
        """
        self.curvature.copy_(curvature)
        for components in (slice(N_TURNS), slice(N_TURNS, None)):
            width = most_likely_width(estimates[:, components].flatten(), covariances[:, components].flatten())
            present = self.sigmas[components] / self.scale[components]
            self.sigmas[components] = self.scale[components] * present ** (1 - share) * width**share


def corrected(corrections: Tensor, matrices: Tensor, shifts: Tensor, views: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Rotations and shifts of images with corrections (b, m) applied to those of particles.

    Parameters
    ----------
    corrections : (b, m)
        See `RefinedPoses`.
    matrices : (b, 3, 3); shifts : (b, 2) or (b, 3) A
        Of particles.
    views : (b, F, 3, 3) or None
        How each image sees what these have placed; None: as it is.

    Returns
    -------
    tuple
        (b, 3, 3) and shifts as they came in; or (b, F, 3, 3) and (b, F, 2) of the views.
    """
    turned = product_in_full(rotation_vector_matrices(corrections[:, :N_TURNS]), matrices)
    moved = shifts + corrections[:, N_TURNS:]
    if views is None:
        return turned, moved
    return product_in_full(views, turned[:, None]), product_in_full(views, moved[:, None, :, None])[:, :, :2, 0]


def most_likely_width(estimates: Tensor, variances: Tensor) -> Tensor:
    """Width sigma of a normal distribution from estimates (m,) of its draws with variances (m,): maximum marginal likelihood."""
    widths = torch.logspace(0, 1, 61, base=WIDEST / NARROWEST).to(estimates) * NARROWEST
    total = widths.square()[:, None] + variances
    return widths[(total.log() + estimates.square() / total).sum(1).argmin()]
