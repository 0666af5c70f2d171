"""What the reconstruction needs of one half set: its particles in bins, and the deformation of each bin."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from jobtypes.dynamight.backprojection.bins import Binning, Bins, choose_bins
from jobtypes.dynamight.backprojection.deformation_basis import DeformationBasis, inverse_warps, tabulate
from jobtypes.dynamight.backprojection.moving_part import motion_weights
from jobtypes.dynamight.backprojection.noise import sample_of_groups, shell_powers
from jobtypes.dynamight.backprojection.part_fields import tabulate_parts
from jobtypes.dynamight.backprojection.particle_pass import ParticleViews
from jobtypes.dynamight.backprojection.verdict import latent_information, presence_information
from jobtypes.dynamight.backprojection.warp import Deformation, Identity, Order
from jobtypes.dynamight.model.density import render_density
from jobtypes.dynamight.model.displacement import TAPER_END_ANGSTROMS
from jobtypes.dynamight.model.principal_motions import gram_matrix, squared_lengths
from jobtypes.dynamight.model.result import HalfResult

_SHARE_OF_UNCERTAINTY = 0.5
Inverse = Callable[[Tensor, Tensor], Tensor]  # (points (m, 3) A in the state, coefficients (K,)) -> points in the consensus


@dataclass(frozen=True)
class HalfProblem:
    """One half set, ready to be summed and solved.

    Attributes
    ----------
    half
        1 or 2.
    views
        Its particles.
    bins
        Who belongs together.
    held_out, good : (n_h,) bool
        Particles kept for the verdict, none of them where that would leave nothing to reconstruct from; and those that are
        rather the molecule than not: the others are left out.
    deformations
        D_m of each bin, which leaves out the parts that its particles lack.
    information : (n_h,)
        Nats that each particle's latents carry, and what was read off its image of the parts that it has.
    """

    half: int
    views: ParticleViews
    bins: Bins
    held_out: np.ndarray
    good: np.ndarray
    deformations: Sequence[Deformation]
    information: Tensor

    def members(self, *, held_out: bool) -> list[np.ndarray]:
        """Numbers (n_m,) in the half of the held-out or the other good particles of each bin."""
        labels = self.bins.labels.numpy()
        wanted = self.good & (self.held_out if held_out else ~self.held_out)
        return [np.flatnonzero((labels == m) & wanted) for m in range(len(self.bins))]


def usable_held_out(held_out: np.ndarray, good: np.ndarray) -> np.ndarray:
    """Return the held-out particles, or none where no other good particle would be left."""
    return np.zeros_like(held_out) if held_out[good].all() else held_out


def uncertainty_angstroms(result: HalfResult, gram: Tensor) -> float:
    """By how much the deformations of single good particles are uncertain: rms displacement, by the metric of `gram_matrix`.

    That is one standard deviation of the posterior along each latent, together.
    """
    squared = sum(squared_lengths(coefficients[result.good], gram) for coefficients in result.uncertain_by())
    return float(torch.as_tensor(squared).mean().sqrt())


def bins_of(result: HalfResult, binning: Binning, pixel_size_angstroms: float) -> Bins:
    """Find the bins of a half set's particles.

    Deformations are compared where the molecule moves: over all of it, the same tolerance would blur a part that moves the more,
    the larger the rest is that does not.

    Bins that leave half of what the deformations of single particles are uncertain by are fine enough, whatever the tolerance:
    they widen the blur that this uncertainty makes by an eighth.
    """
    model, weights = result.model, motion_weights(result)
    if not weights.any():  # then nothing tells deformations apart
        weights = torch.ones_like(weights)
    coefficients = model.field.coefficients(result.latent_mean)
    gram = gram_matrix(model.field.basis(model.gaussians.positions), weights)
    good = result.good.cpu().numpy()
    enough = _SHARE_OF_UNCERTAINTY * uncertainty_angstroms(result, gram)
    return choose_bins(
        coefficients,
        gram,
        train=torch.from_numpy(good & ~usable_held_out(result.held_out, good)),
        tolerance_angstroms=max(binning.tolerance_pixels * pixel_size_angstroms, enough),
        most=binning.most,
        presence=result.presence,
        seed=binning.seed,
    )


def deformation_basis(result: HalfResult, *, box: int, pixel_size_angstroms: float) -> DeformationBasis:
    """Tabulate the half set's deformation field on the voxel grid."""
    return tabulate(
        result.model.field,
        result.model.gaussians.positions,
        box=box,
        pixel_size_angstroms=pixel_size_angstroms,
        reach_angstroms=TAPER_END_ANGSTROMS,
    )


def build_half_problem(
    result: HalfResult,
    views: ParticleViews,
    *,
    bins: Bins,
    order: Order,
    batch_size: int,
    inverse: Inverse | None = None,
) -> HalfProblem:
    """Find noise and deformations of a half set.

    Parameters
    ----------
    result
        The trained half.
    views
        Its particles, whose noise is measured and set.
    bins
        Of `bins_of`: how particles share deformations.
    order
        Interpolation of warps.
    batch_size
        Images at once.
    inverse
        Inverse map of the inverse network; None: the forward field is used.
    """
    box, pixel_size_angstroms = views.images.table.box, views.images.table.pixel_size_angstroms
    good = result.good.cpu().numpy()
    held_out = usable_held_out(result.held_out, good)
    _set_noise(result, views, good & ~held_out, batch_size)
    deformations: Sequence[Deformation]
    if bins.rms_motion_angstroms == 0:
        deformations = [Identity() for _ in range(len(bins))]
    elif inverse is not None:
        positions = result.model.gaussians.positions
        deformations = inverse_warps(
            inverse,
            positions,
            bins.centres.to(positions),
            box=box,
            pixel_size_angstroms=pixel_size_angstroms,
            reach_angstroms=TAPER_END_ANGSTROMS + _farthest_motion(result, bins),
            order=order,
        )
    else:
        basis = deformation_basis(result, box=box, pixel_size_angstroms=pixel_size_angstroms)
        deformations = [basis.warp(centre.to(basis.fields), order=order) for centre in bins.centres]
    if result.presence.shape[1]:
        parts = tabulate_parts(result, box=box, pixel_size_angstroms=pixel_size_angstroms)
        deformations = [parts.occupied(*each) for each in zip(deformations, bins.presence, strict=True)]
    information = latent_information(result.latent_mean, result.latent_log_variance).cpu()
    information += presence_information(result.presence, torch.from_numpy(good & ~held_out)).cpu()
    return HalfProblem(result.half, views, bins, held_out, good, deformations, information)


def _set_noise(result: HalfResult, views: ParticleViews, used: np.ndarray, batch_size: int) -> None:
    table, gaussians = views.images.table, result.model.gaussians
    consensus = render_density(gaussians, gaussians.positions, table.box, table.pixel_size_angstroms)
    members = sample_of_groups(table.optics_group[result.rows], used)
    views.set_powers(*shell_powers(views, members, consensus, batch_size=batch_size))


def _farthest_motion(result: HalfResult, bins: Bins) -> float:
    """Largest displacement of a Gaussian in any bin, A."""
    basis = result.model.field.basis(result.model.gaussians.positions)
    centres = bins.centres.to(basis)
    return float(torch.stack([torch.tensordot(centre, basis, dims=1).norm(dim=1).max() for centre in centres]).max())
