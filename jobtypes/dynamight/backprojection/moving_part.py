"""Whether the half maps agree where the molecule moves, as well with the deformations as without.

Held-out images may be predicted better from a deformed map whose moving part is worse than that of the rigid one: where
deformations are wrong in detail, or where the halves show the part in different states. The half maps tell, but
for what blurs both alike. Each voxel counts by the density there times how far it moves, so that nothing has to be chosen of what
counts as moving.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from jobtypes.common.fourier import half_plane_weights, rfft3, shell_average, shell_sum, shells_3d
from jobtypes.dynamight.backprojection.local_gain import (
    NOTABLE,
    detail,
    local_correlation,
    place_of_greatest,
    said_place,
    window_mean,
)
from jobtypes.dynamight.model.deformed import mean_squared_displacement
from jobtypes.dynamight.model.density import splat_points
from jobtypes.dynamight.model.result import HalfResult

_STANDARD_ERRORS = 2.0


@dataclass(frozen=True)
class MovingPart:
    """How half maps agree where the molecule moves.

    Attributes
    ----------
    deformed, rigid
        Mean local correlation of the half maps of each kind.
    error
        Standard error of their difference, by which maps without any difference would scatter.
    lost
        Share of the moving part in which the correlation is lower in the deformed maps by more than two errors of one window.
    worst_angstroms
        Place x, y, z in A from the box centre where most was lost.
    """

    deformed: float
    rigid: float
    error: float
    lost: float
    worst_angstroms: tuple[float, ...]

    @property
    def fell(self) -> bool:
        """Whether the deformed half maps agree less, surely and notably.

        A little less they may agree where they are the better maps, too: blur that both halves share raises the agreement of
        the rigid ones, and the states that the halves show are never quite the same.
        """
        return self.rigid - self.deformed > max(NOTABLE, _STANDARD_ERRORS * self.error)

    def figures(self) -> str:
        """Say the numbers."""
        where = f", most around ({said_place(self.worst_angstroms)}) A from the box centre" if self.lost > 0 else ""
        return (
            f"the local correlation of the half maps is {self.deformed:.2f} in the deformed and {self.rigid:.2f} in the rigid "
            f"ones (+- {self.error:.2f}), and lower in {100 * self.lost:.0f} % of the moving part{where}"
        )


@torch.no_grad()
def motion_weights(result: HalfResult) -> Tensor:
    """How much each Gaussian counts as moving, (n,) A^2, not negative; all 0 where nothing moves.

    That is its amplitude times the mean square of its displacement from the mean over the good particles.
    """
    gaussians, field = result.model.gaussians, result.model.field
    basis = field.basis(gaussians.positions)
    coefficients = field.coefficients(result.latent_mean[result.good]).double()
    about_mean = (coefficients - coefficients.mean(0)).to(basis)
    return gaussians.amplitudes * mean_squared_displacement(about_mean, basis)


@torch.no_grad()
def moving_weights(results: Iterable[HalfResult], *, box: int, pixel_size_angstroms: float) -> Tensor | None:
    """How much each voxel counts as moving, (N, N, N), sum 1; None where nothing moves.

    Those of the Gaussians, put on the grid; the mean of the half sets.
    """
    total = torch.zeros(())
    for result in results:
        power = motion_weights(result)
        if float(power.sum()) > 0:
            voxels = result.model.gaussians.positions / pixel_size_angstroms + box // 2
            total = total.to(power) + splat_points(voxels, power / power.sum(), box)
    return total / total.sum() if float(total.sum()) > 0 else None


def moving_part(
    rigid: tuple[Tensor, Tensor], deformed: tuple[Tensor, Tensor], weights: Tensor, *, pixel_size_angstroms: float
) -> MovingPart:
    """Compare the deformed with the rigid half maps (N, N, N) under `moving_weights` (N, N, N)."""
    pairs, weights = (rigid, deformed), weights.to(rigid[0])
    local = [local_correlation(*pair, pixel_size_angstroms=pixel_size_angstroms) for pair in pairs]
    region, window = window_mean(weights).clamp_min(0), window_mean(_point_like(weights))
    alike = [_voxels_alike(pair, region, pixel_size_angstroms) for pair in pairs]
    means = [(weights * values).sum() for values in local]
    errors = [_error(mean, _extent(region) / one) for mean, one in zip(means, alike, strict=True)]
    scatter = [_error(values, _extent(window) / one) for values, one in zip(local, alike, strict=True)]
    fall = local[0] - local[1]
    lost = weights * (fall > _STANDARD_ERRORS * torch.hypot(*scatter))
    return MovingPart(
        deformed=float(means[1]),
        rigid=float(means[0]),
        error=float(torch.hypot(*errors)),
        lost=float(lost.sum()),
        worst_angstroms=place_of_greatest(window_mean(lost * fall), pixel_size_angstroms),
    )


def _error(correlation: Tensor, independent: Tensor) -> Tensor:
    """Standard error of correlations, each of so many independent terms."""
    return (1 - correlation.square()).clamp_min(0) / independent.clamp_min(1).sqrt()


def _extent(region: Tensor) -> Tensor:
    """How many voxels a soft region (N, N, N) counts for, ()."""
    return region.sum().square() / region.square().sum()


def _voxels_alike(pair: tuple[Tensor, Tensor], region: Tensor, pixel_size_angstroms: float) -> Tensor:
    """How many voxels of the details of half maps are as good as one independent voxel, in a soft region (N, N, N): ().

    Source: Bartlett 1946, for the correlation of two series each of which is correlated with itself.
    """
    box, shells = region.shape[0], shells_3d(region.shape[0], device=region.device)
    spectra = (rfft3(detail(volume, pixel_size_angstroms) * region.sqrt()) for volume in pair)
    one, other = (shell_average(spectrum.abs().square(), shells) for spectrum in spectra)
    terms = shell_sum(half_plane_weights(box, 3, device=region.device), shells)  # (N // 2 + 1,)
    return box**3 * (terms * one * other).sum() / ((terms * one).sum() * (terms * other).sum()).clamp_min(1e-30)


def _point_like(volume: Tensor) -> Tensor:
    """1 at the centre of a map (N, N, N)."""
    point = torch.zeros_like(volume)
    point[(volume.shape[0] // 2,) * 3] = 1
    return point
