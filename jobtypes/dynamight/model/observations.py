"""A half set's particle images as the training sees them: band-limited spectra, read once."""

from __future__ import annotations

import copy
import math
import mmap
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from jobtypes.common.ctf import CtfCurves, dose_damping
from jobtypes.common.devices import copied_to
from jobtypes.common.fourier import frequencies_2d, half_plane_weights, rfft2
from jobtypes.common.masks import soft_circle
from jobtypes.common.particle_images import ParticleImages
from jobtypes.common.particles import ParticleTable
from jobtypes.common.rotations import euler_matrices
from jobtypes.common.share import Share
from relion_jobs.contract.errors import UserError

HALF_PRECISION_RANGE = 3e4  # the largest term is stored as this; float16 ends at 65504


class Band:
    """The Fourier terms of a particle up to a resolution, in order of their radius: a coarser resolution is a prefix.

    Where particles have several images, those of all of them follow each other at every frequency, F for each.

    Attributes
    ----------
    n_views
        Most images F of a particle. One that has fewer has terms of zero in place of the others.
    of_view
        The terms of one image alone.
    harmonics : (Q, 2)
        Integer frequencies kx >= 0, ky of the half plane, as multiples of 1 / box length.
    frequencies : (Q, 2) 1/A
    squared_frequencies : (Q,) 1/A^2
    shells : (Q,)
        Integer radius.
    radius : (Q,)
        On the CPU.
    weights : (Q,)
        1 for a term that stands for itself and its conjugate, 1/2 where both are in the half plane: a sum with these
        weights counts every independent term of a real image once.
    """

    def __init__(self, box: int, pixel_size_angstroms: float, resolution_angstroms: float, n_views: int = 1) -> None:
        self.n_views = n_views
        self.of_view = self if n_views == 1 else Band(box, pixel_size_angstroms, resolution_angstroms)
        self.box, self.pixel_size_angstroms = box, pixel_size_angstroms
        self.box_length_angstroms = box * pixel_size_angstroms
        grid = frequencies_2d(box, pixel_size_angstroms).reshape(-1, 2).double()
        harmonics = (grid * self.box_length_angstroms).round().long()
        radius = harmonics.double().norm(dim=1)
        # the Nyquist row and column of an even box hold sums of two frequencies; leave them out
        limit = min(self.box_length_angstroms / resolution_angstroms, (box - 1) // 2)
        kept = torch.nonzero((radius <= limit) & (radius > 0)).squeeze(1)
        order = torch.sort(radius[kept], stable=True).indices
        self.index = kept[order].repeat_interleave(n_views)  # (Q,) into the flattened half plane
        self.harmonics = harmonics[self.index]
        self.radius = radius[self.index].float()
        self.frequencies = grid[self.index].float()
        self.squared_frequencies = self.frequencies.square().sum(1)
        self.shells = self.radius.round().long()
        self.weights = half_plane_weights(box, 2).reshape(-1)[self.index].float() / 2

    def __len__(self) -> int:
        return len(self.index)

    def n_terms(self, resolution_angstroms: float) -> int:
        """Number of leading terms up to a resolution."""
        limit = self.box_length_angstroms / resolution_angstroms + 1e-6
        return max(1, int(torch.searchsorted(self.radius, limit, right=True)))

    def highest(self, n_terms: int) -> int:
        """The highest |kx| or |ky| among the first `n_terms` terms, or the next: that of a whole shell."""
        return int(self.radius[n_terms - 1])

    def resolution(self, n_terms: int) -> float:
        """Resolution of the first `n_terms` terms, in A."""
        return self.box_length_angstroms / float(self.radius[n_terms - 1])

    @property
    def spectrum_bytes(self) -> int:
        """Bytes that the terms of one image take where they are kept."""
        return 4 * len(self)

    def to(self, device: torch.device) -> Band:
        """Copy with all tables on a device but the radii, which are asked at every step: a GPU would have to be waited for."""
        moved = copy.copy(self)  # other half sets may have theirs on another device
        moved.of_view = moved if self.n_views == 1 else self.of_view.to(device)
        for name in ("index", "harmonics", "frequencies", "squared_frequencies", "shells", "weights"):
            setattr(moved, name, getattr(self, name).to(device))
        return moved


@dataclass(frozen=True)
class ObservedBatch:
    """A batch of observed particles on the compute device.

    Attributes
    ----------
    index : (b,)
        Place of each particle in its half's `Observations`.
    spectra : (b, q) complex
        Fourier terms of the masked images, unnormalised, phase origin at the box centre: the first of the band.
    ctf : (b, q)
        Factor between a projection's term and the observed one.
    matrices : (b, 3, 3)
        Input rotations.
    shifts : (b, 2) A
        Input shift of the projection; (b, 3) of the particle, where it has several images.
    group : (b,)
        Optics group.
    seen : (b,)
        Share of the band's views that the particle has.
    views : (b, F, 3, 3) or None
        How each image sees what matrices and shifts have placed, 0 where there is no image; None: as it is.
    """

    index: Tensor
    spectra: Tensor
    ctf: Tensor
    matrices: Tensor
    shifts: Tensor
    group: Tensor
    seen: Tensor
    views: Tensor | None = None


class Observations:
    """All particles of one half set, and the images of those that are this process's own.

    Images are read once, masked with a soft circle, transformed and cropped to the band. Where the data are premultiplied by
    their CTF, so is their noise: such terms, and their contrast transfer, are divided by |CTF| again, as far as it is not small.

    The spectra are kept in half precision, each relative to its largest term: an error of 1 / 4096 of a term at most, far below
    the noise.

    Parameters
    ----------
    table, rows
        The particles, and the (n_h,) rows of this half.
    band
        Fourier terms to keep.
    mask : (N, N)
        Soft mask of the images.
    device
        Where batches go.
    scratch
        File that holds the spectra; None: they stay in memory.
    share
        Of this process in the particles; None: it owns them all.

    Attributes
    ----------
    spectra : (own F, Q / F, 2) float16
        Real and imaginary parts over `scale`, of the images of the own particles in their order, F places for each.
    scale : (own F,)
        The largest term of each image over what it is stored as.
    matrices : (n_h, 3, 3); shifts : (n_h, 2) or (n_h, 3); group : (n_h,); seen : (n_h,); views : (n_h, F, 3, 3) or None
        As of an `ObservedBatch`.
    image_of : (n_h,)
        The same number for all copies of one image, as `ParticleTable.copy_of`.

    Raises
    ------
    UserError
        The disk has no room for the scratch file.
    """

    SMALLEST_CTF = 0.1  # premultiplied terms below it are left as they are
    SMALLEST_DAMPING = 0.01  # by dose, of terms of which anything is left

    def __init__(
        self,
        table: ParticleTable,
        rows: np.ndarray,
        band: Band,
        mask: Tensor,
        *,
        device: torch.device,
        scratch: Path | None = None,
        share: Share | None = None,
    ) -> None:
        self.rows, self.band, self.mask, self.device = rows, band, mask, device
        self.share = Share.whole(len(rows)) if share is None else share
        self._place_of = self.share.owned.cumsum(0) - 1  # of an own particle
        self._images, place, view = _placed_images(table, rows)
        self._stored_at = place * band.n_views + view  # (m,) of each image
        self.seen = torch.bincount(place, minlength=len(rows)) / band.n_views
        self.views = None
        if table.tilts is not None:
            self.views = torch.zeros(len(rows), band.n_views, 3, 3)
            self.views[place, view] = torch.from_numpy(table.tilts.projections[self._images]).float()
        self.matrices = euler_matrices(torch.from_numpy(table.angles_degrees[rows])).float()  # (n_h, 3, 3)
        self.shifts = -torch.from_numpy(table.origins_angstroms[rows]).float()  # (n_h, 2)
        self.group = torch.from_numpy(table.optics_group[rows])
        self.image_of = torch.from_numpy(table.copy_of[rows])
        self._ctf_curves = CtfCurves.of(table.per_image.ctf_parameters(self._images, device=device))
        # (n_h F,) where the CTF of each view is among them, and 0 for those that are none
        self._curve_of = torch.zeros(len(rows) * band.n_views, dtype=torch.int64)
        self._curve_of[self._stored_at] = torch.arange(len(self._images))
        self._is_view = torch.zeros(len(self._curve_of)).index_fill_(0, self._stored_at, 1.0)
        shape = (int(self.share.owned.sum()) * band.n_views, len(band.of_view), 2)
        self._scratch = None if scratch is None else ScratchFile(scratch, shape)
        self.spectra = torch.empty(shape, dtype=torch.float16) if self._scratch is None else self._scratch.numbers
        if band.n_views > 1:
            self.spectra.zero_()
        self.scale = torch.zeros(len(self.spectra))

    def __len__(self) -> int:
        """Particles of the half set."""
        return len(self.rows)

    def read(self, images: ParticleImages, after_batch: Callable[[int], None], batch_size: int = 256) -> None:
        """Read the images of all own particles; `after_batch` is called with the number of images of each batch.

        Raises
        ------
        UserError
            A stack or an image that cannot be used; see `ParticleImages.read`.
        """
        index, n_views = self.band.of_view.index.cpu(), self.band.n_views
        own = torch.nonzero(self.share.owned[self._stored_at // n_views]).squeeze(1)  # of the images
        for places, read in images.stream(self._images[own.numpy()], batch_size):
            some = own[torch.from_numpy(places)]
            terms = rfft2(read * self.mask).flatten(1)[:, index]
            curves = self._ctf_curves.select(some.to(self.device))
            parts = torch.view_as_real(terms / self._premultiplication(curves).cpu())  # (b, Q, 2)
            scale = parts.abs().amax((1, 2)).clamp(min=1e-30) / HALF_PRECISION_RANGE
            at = self._stored_at[some]
            place = self._place_of[at // n_views] * n_views + at % n_views
            self.scale[place] = scale
            self.spectra[place] = (parts / scale[:, None, None]).half()
            self._forget()
            after_batch(len(some))

    def terms(self, index: Tensor, n_terms: int | None = None) -> Tensor:
        """First Fourier terms (b, q), complex64, of own particles at `index` (b,) of the half, on the device; None: all."""
        place = self._views_at(self._place_of[index])
        stored, scale = self.spectra[:, : self._per_view(n_terms)][place], self.scale[place]
        parts = copied_to(stored, self.device).float() * copied_to(scale, self.device)[:, None, None]
        self._forget()
        return self._side_by_side(torch.view_as_complex(parts))

    def _views_at(self, place: Tensor) -> Tensor:
        """(b F,) places of the views of particles at places (b,)."""
        n_views = self.band.n_views
        return place if n_views == 1 else (place[:, None] * n_views + torch.arange(n_views, device=place.device)).flatten()

    def _per_view(self, n_terms: int | None) -> int | None:
        return None if n_terms is None else n_terms // self.band.n_views

    def _side_by_side(self, terms: Tensor) -> Tensor:
        """Terms (b F, q) of views in the order of the band, (b, q F)."""
        n_views = self.band.n_views
        return terms if n_views == 1 else terms.unflatten(0, (-1, n_views)).transpose(1, 2).flatten(1)

    def batch(self, index: Tensor, n_terms: int | None = None) -> ObservedBatch:
        """Own particles at `index` (b,) of the half with the first Fourier terms of the band; None: all."""
        place = copied_to(index, self.device)
        of_all = (self.matrices, self.shifts, self.group, self.seen)
        matrices, shifts, group, seen = (copied_to(each[index], self.device) for each in of_all)
        views = None if self.views is None else copied_to(self.views[index], self.device)
        at = self._views_at(index)
        curves = self._ctf_curves.select(copied_to(self._curve_of[at], self.device))
        ctf = self._ctf(curves, n_terms) / self._premultiplication(curves, n_terms)
        if views is not None:
            ctf = ctf * copied_to(self._is_view[at], self.device)[:, None]
        return ObservedBatch(place, self.terms(index, n_terms), self._side_by_side(ctf), matrices, shifts, group, seen, views)

    def _ctf(self, curves: CtfCurves, n_terms: int | None) -> Tensor:
        """(b, q) of b images."""
        return curves(self.band.of_view.frequencies[: self._per_view(n_terms)].to(self.device))

    def _premultiplication(self, curves: CtfCurves, n_terms: int | None = None) -> Tensor:
        """(b, q) factor that premultiplication left on the noise of each term; (b, 1) of ones where no data are premultiplied."""
        premultiplied = curves.premultiplied
        if premultiplied is None:
            return torch.ones(len(curves), 1, device=self.device)
        smallest = torch.full((), self.SMALLEST_CTF, device=self.device)
        if curves.dose is not None:  # a damping has no zeros beside which masks spread noise
            squares = self.band.of_view.squared_frequencies[: self._per_view(n_terms)].to(self.device)
            smallest = smallest * dose_damping(curves.dose, squares).clamp(min=self.SMALLEST_DAMPING)
        factor = self._ctf(curves, n_terms).sqrt().clamp(min=smallest)
        return torch.where(premultiplied[:, None], factor, torch.ones((), device=self.device))

    def _forget(self) -> None:
        if self._scratch is not None:
            self._scratch.forget()


def _placed_images(table: ParticleTable, rows: np.ndarray) -> tuple[np.ndarray, Tensor, Tensor]:
    """Images (m,) of particles at `rows` (p,); which of these particles each shows, (m,), and as which of its views, (m,)."""
    images, place = table.images_of(rows)
    counts = np.bincount(place, minlength=len(rows))
    view = np.arange(len(place)) - np.repeat(np.cumsum(counts) - counts, counts)
    return images, torch.from_numpy(place), torch.from_numpy(view)


class ScratchFile:
    """Numbers in a file that is mapped into memory, of which only a part is in memory at a time.

    Parameters
    ----------
    path
        The file; one that is there is overwritten.
    shape
        Of the array.

    Attributes
    ----------
    numbers
        float16 array of that shape, backed by the file.

    Raises
    ------
    UserError
        The disk has no room for it.
    """

    MOST_USES = 64  # batches until pages are given back

    def __init__(self, path: Path, shape: tuple[int, ...]) -> None:
        size = max(1, 2 * int(np.prod(shape, dtype=np.int64)))
        with open(path, "wb+") as file:
            try:
                # without it a full disk would kill the program at some later write
                os.posix_fallocate(file.fileno(), 0, size)
            except OSError as error:
                path.unlink()
                raise UserError(
                    f"The scratch file {path} of {size / 1e9:.1f} GB cannot be made: {error.strerror}; make room on that "
                    'disk, or set "Preload images in RAM" to Yes if the memory holds them.'
                ) from error
            self._map = mmap.mmap(file.fileno(), size)
        self._map.madvise(mmap.MADV_RANDOM)
        self.numbers = torch.frombuffer(self._map, dtype=torch.float16, count=int(np.prod(shape))).view(shape)
        self._uses = 0

    def forget(self) -> None:
        """Give pages back to the system from time to time; what they hold stays in the file."""
        self._uses += 1
        if self._uses % self.MOST_USES == 0:
            self._map.madvise(mmap.MADV_DONTNEED)


def image_mask(
    box: int,
    pixel_size_angstroms: float,
    diameter_angstroms: float | None,
    edge_angstroms: float,
    *,
    within_angstroms: float = math.inf,
) -> tuple[Tensor, float]:
    """Soft circular mask of the images and the diameter it has.

    Without a diameter, or with one that the box cannot hold, the mask is as large as the box allows, its soft edge included; nor
    does it reach beyond `within_angstroms`, the box of the smallest images that were brought to this one.

    Returns
    -------
    (N, N), float
        Mask; diameter of its flat part in A.

    Raises
    ------
    UserError
        The soft edge alone fills the box.
    """
    length = min(box * pixel_size_angstroms, within_angstroms)
    largest = length - 2 * edge_angstroms
    if largest <= 0:
        raise UserError(
            f"A soft edge of {edge_angstroms:g} A (soft_edge) on all sides fills the whole box of "
            f"{length:g} A; expected less than {length / 2:g} A."
        )
    diameter = min(diameter_angstroms or largest, largest)
    return soft_circle(box, diameter / 2 / pixel_size_angstroms, edge_angstroms / pixel_size_angstroms), diameter
