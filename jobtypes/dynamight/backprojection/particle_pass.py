"""The one pass over the particles: each of their images goes as a Fourier slice into the sums of its bin."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from jobtypes.common.ctf import ctf
from jobtypes.common.devices import copied_to
from jobtypes.common.fourier import frequencies_2d, rfft2, shift_phases
from jobtypes.common.particle_images import ParticleImages
from jobtypes.common.particles import ParticleTable
from jobtypes.common.products import product_in_full
from jobtypes.dynamight.backprojection.slices import SliceGrid, SlicePlane
from jobtypes.dynamight.backprojection.sums_store import SumsStore

_LEAST_PROFILE = 0.01  # of its greatest: where CTFs have a zero in common, terms are not worth more than those beside them


@dataclass(frozen=True)
class Views:
    """Centred Fourier slices of the b images of some particles.

    Attributes
    ----------
    place : (b,) int64
        Which of these particles each shows.
    image, transfer : (b, q)
        Spectrum of the centred image and the factor between it and the projection; 0 for terms that images of the optics group
        do not hold.
    data : (b, q) complex; weight : (b, q)
        w C y and w C^2, the terms of the normal equations, with w the `weight of the noise <ParticleViews.set_powers>` times the
        particle's quality, and C the CTF times its scale.
    noise_gain : (b, q)
        Power of the noise over that of the detector: 1, or C^2 where images were premultiplied by their CTF; 0 for terms that
        images of the optics group do not hold.
    rotations : (b, 3, 3)
    group : (b,) int64
        Optics group.
    """

    place: Tensor
    image: Tensor
    transfer: Tensor
    data: Tensor
    weight: Tensor
    noise_gain: Tensor
    rotations: Tensor
    group: Tensor


class ParticleViews:
    """Reads the particles of one half as `Views`.

    Parameters
    ----------
    images
        All images of the STAR file.
    rows : (n_h,)
        Rows of this half in it.
    rotations : (n_h, 3, 3); shifts_angstroms : (n_h, 2)
        Pose of each: rotation A and shift of the projection; shifts (n_h, 3) in the axes of the tomogram where there are tilts.
    quality, scale : (n_h,)
        Weight of each image, and strength of its signal; None: 1.
    plane
        The Fourier pixels wanted; its device is where everything is computed.


    Attributes
    ----------
    noise : (q,)
        Power of the noise that a weight of 1 stands for; 1 until `set_powers`.
    profile : (N // 2 + 1,)
        Expected weight of a term of each shell; 1 until `set_powers`.
    """

    def __init__(
        self,
        images: ParticleImages,
        rows: np.ndarray,
        rotations: Tensor,
        shifts_angstroms: Tensor,
        *,
        plane: SlicePlane,
        quality: Tensor | None = None,
        scale: Tensor | None = None,
    ) -> None:
        self.images, self.rows, self.plane = images, rows, plane
        self.rotations, self.shifts = rotations, shifts_angstroms
        self.quality = torch.ones(len(rows)) if quality is None else quality
        self.scale = torch.ones(len(rows)) if scale is None else scale
        table = images.table
        self._frequencies = frequencies_2d(table.box, table.pixel_size_angstroms, device=plane.cycles.device)
        self._held = _held_terms(table, plane, self._frequencies)
        self._noise_weight = torch.ones(len(table.optics.numbers), len(plane), device=plane.cycles.device)
        self.noise = torch.ones(len(plane), device=plane.cycles.device)
        self.profile = torch.ones(plane.box // 2 + 1, device=plane.cycles.device)

    def set_powers(self, noise: Tensor, squared_ctf: Tensor) -> None:
        """Weight images by their noise from now on.

        Within a shell optics groups count by the inverse of their noise, with a mean weight of 1 over the particles. Shells are
        not weighted against each other: each has a prior of its own size, deformations hardly mix them, and a kernel of equal
        shells is short, so that it is known better.

        Parameters
        ----------
        noise : (groups, N // 2 + 1)
        squared_ctf : (N // 2 + 1,)
        """
        self.profile = squared_ctf.clamp_min(_LEAST_PROFILE * float(squared_ctf.max())).to(self.profile)
        power = noise.to(self._noise_weight)[:, self.plane.shells]  # (groups, q)
        groups = torch.from_numpy(self.images.table.optics_group[self.rows]).to(power.device)
        share = torch.bincount(groups, minlength=len(power)) / len(groups)
        self.noise = 1 / (share[:, None] / power).sum(0)
        self._noise_weight = self.noise / power

    def particles_together(self, n_images: int) -> int:
        """How many particles have so many images at most, or one."""
        return max(1, n_images // self.images.table.most_images)

    def read(self, members: np.ndarray) -> Views:
        """Read the images of particles by their number (p,) in the half."""
        device, table = self.plane.cycles.device, self.images.table.per_image
        shown, place = self.images.table.images_of(self.rows[members])
        parameters = table.ctf_parameters(shown, device=device)
        rotations, shifts = (values.to(device) for values in self._seen(members[place], shown))
        images = copied_to(self.images.read(shown), device)
        spectra = rfft2(images) * shift_phases(-shifts, self._frequencies)
        group = copied_to(torch.from_numpy(table.optics_group[shown]), device)
        held = self._held[group]
        image = self.plane.take(spectra) * held
        transfer = self.plane.take(ctf(parameters, self._frequencies)) * held
        data, weight, gain = transfer * image, transfer.square(), held
        if parameters.premultiplied is not None:
            # image and transfer hold one more CTF, and so does the amplitude of the noise
            twice = parameters.premultiplied[:, None]
            data, weight = torch.where(twice, image, data), torch.where(twice, transfer, weight)
            gain = torch.where(twice, transfer, gain)
        quality, scale = (copied_to(values[members[place]], device)[:, None] for values in (self.quality, self.scale))
        of_image = self._noise_weight[group] * quality
        data, weight = data * of_image * scale, weight * of_image * scale.square()
        at = copied_to(torch.from_numpy(place), device)
        return Views(at, image, transfer * scale, data, weight, gain, rotations, group)

    def _seen(self, members: np.ndarray, images: np.ndarray) -> tuple[Tensor, Tensor]:
        """Rotations (b, 3, 3) and shifts (b, 2) of images (b,), which show particles (b,)."""
        index = copied_to(torch.from_numpy(members), self.rotations.device)
        rotations, shifts = self.rotations[index], self.shifts[index]
        tilts = self.images.table.tilts
        if tilts is None:
            return rotations, shifts
        projections = torch.from_numpy(tilts.projections[images]).to(rotations)
        return product_in_full(projections, rotations), product_in_full(projections, shifts[:, :, None])[:, :2, 0]


def _held_terms(table: ParticleTable, plane: SlicePlane, frequencies: Tensor) -> Tensor:
    """(groups, q) 1 for terms that images of an optics group hold, 0 for those beyond the Nyquist frequency of its own pixels."""
    held = torch.ones(len(table.optics.numbers), len(plane), device=plane.cycles.device)
    radius = plane.take(frequencies.norm(dim=-1)[None])[0]
    for group in table.used_groups.tolist():
        if not table.optics.has_grid(group, table.box, table.pixel_size_angstroms):
            held[group] = (radius < table.optics.highest_frequency(group)).to(held)
    return held


def batches(members: np.ndarray, size: int) -> list[np.ndarray]:
    """Split members into batches of at most `size`."""
    return [members[start : start + size] for start in range(0, len(members), size)]


def add_particles(
    views: ParticleViews,
    members_of_bin: Sequence[np.ndarray],
    store: SumsStore,
    *,
    half: int,
    part: str,
    batch_size: int,
    after_batch: Callable[[int], None],
    onto: str | None = None,
    own: Sequence[int] | None = None,
) -> None:
    """Sum particles bin by bin, so that only one bin's padded grid is in memory; bins that the store has are skipped.

    Parameters
    ----------
    views
        The half's particles.
    members_of_bin
        For each bin the numbers of its particles in the half; may be empty.
    store
        Takes the sums.
    half, part
        Key in the store.
    batch_size
        Images at once.
    after_batch
        Called with the number of particles done, also for skipped ones: progress, saving and abort.
    onto
        Part whose sums are added and then dropped.
    own
        Bins that this process sums; None: all.
    """
    grid = SliceGrid(views.plane, views.profile)
    for m in range(len(members_of_bin)) if own is None else own:
        key, members = (half, part, m), members_of_bin[m]
        if key in store:
            after_batch(len(members))
            continue
        numerator, weights = _sum_bin(grid, views, members, store, key=key, batch_size=batch_size, after_batch=after_batch)
        if onto is not None:
            before = store.get((half, onto, m))
            numerator, weights = numerator + before["numerator"], weights + before["weights"]
        store.put(key, numerator, weights)
        if onto is not None:
            store.drop((half, onto, m))


def _sum_bin(
    grid: SliceGrid,
    views: ParticleViews,
    members: np.ndarray,
    store: SumsStore,
    *,
    key: tuple[int, str, int],
    batch_size: int,
    after_batch: Callable[[int], None],
) -> tuple[Tensor, Tensor]:
    grid.clear()
    done = 0
    if store.open_bin is not None and tuple(store.open_bin["key"]) == key:
        grid.grid.copy_(store.open_bin["grid"])
        done = store.open_bin["n_images"]  # of particles, which have one each in what earlier versions summed up
        after_batch(done)
    for batch in batches(members[done:], views.particles_together(batch_size)):
        read = views.read(batch)
        grid.insert(read.data, read.weight, read.rotations)
        done += len(batch)
        store.open_bin = {"key": list(key), "grid": grid.grid, "n_images": done}
        after_batch(len(batch))
    return grid.numerator().cpu(), grid.weights().cpu()
