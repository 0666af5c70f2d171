"""Power of CTFs and noise in each shell; the noise of an optics group is what the half set's Gaussians leave of its images."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from jobtypes.common.padded_grid import padded_spectrum
from jobtypes.dynamight.backprojection.particle_pass import ParticleViews, batches
from jobtypes.dynamight.backprojection.slices import read_slices

_SAMPLE = 500  # particles of each optics group
_FLOOR = 0.01  # of the group's median: a shell that a filter has emptied must not outweigh all others


def sample_of_groups(group: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Numbers in the half of the first training particles of each optics group.

    Parameters
    ----------
    group : (n_h,) optics group
    train : (n_h,) bool
    """
    trained = np.flatnonzero(train)
    parts = [trained[group[trained] == g][:_SAMPLE] for g in np.unique(group[trained])]
    return np.sort(np.concatenate(parts))


def shell_powers(views: ParticleViews, members: np.ndarray, consensus: Tensor, *, batch_size: int) -> tuple[Tensor, Tensor]:
    """Mean squared modulus of the noise's Fourier terms, of images that are not premultiplied by their CTF, and of the CTF.

    Parameters
    ----------
    views
        The half's particles.
    members : (n,) numbers in the half of those looked at
    consensus : (N, N, N)
        Map on the scale of the data. What it lacks, motion and fine detail, counts as noise; in single images it is little.
    batch_size
        Images at once.

    Returns
    -------
    tuple
        Of the noise (groups, N // 2 + 1); a group of which no particle was looked at has the mean of the others, and one whose
        images do not reach so far has infinite noise there. Of the CTF (N // 2 + 1,), over all that were looked at.
    """
    plane = views.plane
    spectrum = padded_spectrum(consensus)
    n_groups, n_shells = len(views.images.table.optics.numbers), plane.box // 2 + 1
    residual, gain, weight = (torch.zeros(n_groups, n_shells, device=consensus.device, dtype=torch.float64) for _ in range(3))
    n_images = 0
    for batch in batches(members, views.particles_together(batch_size)):
        read = views.read(batch)
        n_images += len(read.place)
        left = (read.image - read.transfer * read_slices(spectrum, plane, read.rotations)).abs().square() * plane.weights
        for total, terms in ((residual, left), (gain, read.noise_gain * plane.weights), (weight, read.weight * plane.weights)):
            per_shell = torch.zeros(len(terms), n_shells, device=terms.device).index_add_(1, plane.shells, terms)
            total.index_add_(0, read.group, per_shell.double())
    seen, held = gain[:, 1] > 0, gain > 0
    power = residual / gain.clamp_min(1e-30)
    power[~seen] = power[seen].sum(0) / held[seen].sum(0).clamp_min(1)
    held[~seen] = held[seen].any(0)
    for values in (power, held):
        values[:, -1] = torch.where(gain[:, -1] > 0, values[:, -1], values[:, -2])  # the plane ends below Nyquist
        values[:, 0] = values[:, 1]  # one term, which normalisation of the images has changed
    # images without any noise (made by a program) have a floor of rounding
    typical = torch.where(held, power, torch.nan).nanmedian(1, keepdim=True).values
    floor = _FLOOR * typical + 1e-12 * float(power.max()) + 1e-30
    power = torch.where(held | ~held.any(0), power.clamp(min=floor), torch.inf)
    terms = torch.zeros_like(weight[0]).index_add_(0, plane.shells, plane.weights.double()) * n_images
    return power.float(), (weight.sum(0) / terms).float()
