"""A few hundred particles of each optics group: their Fourier terms, whitened, and the rows that they come from."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jobtypes.common.ctf import DOSE
from jobtypes.common.fourier import frequencies_2d, half_plane_weights, rfft2
from jobtypes.common.particle_images import ParticleImages
from jobtypes.common.particles import ParticleTable

PARTICLES, FEWEST_OF_GROUP, MOST_PARTICLES = 600, 60, 1200  # of all groups; of each, where they are many; of all then
MOST_SHELLS, MOST_TERMS_OF_SHELL = 96, 48
FINEST_RESOLUTION_ANGSTROMS = 6.0  # the signal beyond it is weak in most particles, and poses are seldom that good
BATCH = 64


@dataclass(frozen=True)
class Terms:
    """Fourier terms that are compared: all of the inner shells, as many of the outer ones.

    Attributes
    ----------
    box, pixel_size_angstroms
        Of the images.
    harmonics : (q, 2) float32
        kx, ky as multiples of 1 / box length.
    index : (q,)
        Flat index in the half plane (N, N // 2 + 1).
    shells : (q,)
        Shell of each, from 1.
    weights : (q,)
        1 for a term that stands for itself and its conjugate, 1/2 where both are in the half plane.
    """

    box: int
    pixel_size_angstroms: float
    harmonics: Tensor
    index: Tensor
    shells: Tensor
    weights: Tensor

    @property
    def n_shells(self) -> int:
        """The highest shell, and shell 0."""
        return int(self.shells.max()) + 1

    @property
    def box_length_angstroms(self) -> float:
        """Of an image."""
        return self.box * self.pixel_size_angstroms

    @property
    def independent(self) -> Tensor:
        """(s,) independent complex terms of each shell."""
        return self.sum_of_shells(self.weights[None])[0]

    def sum_of_shells(self, values: Tensor) -> Tensor:
        """(b, q) -> (b, s)."""
        return values.new_zeros(len(values), self.n_shells).index_add_(1, self.shells, values)

    @classmethod
    def of(
        cls, box: int, pixel_size_angstroms: float, generator: torch.Generator, coarsest_angstroms: float | None = None
    ) -> Terms:
        """Choose terms for images of a box; none beyond what images of the coarsest pixels hold, if some have coarser ones."""
        cycles = frequencies_2d(box, 1.0 / box).reshape(-1, 2)
        radius = cycles.norm(dim=1)
        finest = max(FINEST_RESOLUTION_ANGSTROMS, 2 * (coarsest_angstroms or 0.0))
        highest = min((box - 1) // 2, MOST_SHELLS, int(box * pixel_size_angstroms / finest))
        shells = radius.round().long()
        order = torch.randperm(len(shells), generator=generator)
        order = order[torch.sort(shells[order], stable=True).indices]
        place = torch.arange(len(order)) - torch.searchsorted(shells[order], shells[order].contiguous())
        kept = order[(place < MOST_TERMS_OF_SHELL) & (shells[order] >= 1) & (shells[order] <= max(1, highest))]
        weights = half_plane_weights(box, 2).reshape(-1)[kept] / 2
        return cls(box, pixel_size_angstroms, cycles[kept], kept, shells[kept], weights)


@dataclass(frozen=True)
class Sample:
    """Particles that are looked at.

    Attributes
    ----------
    table
        All particles of the STAR file.
    rows : (n,)
        Rows of the table, no image twice.
    group : (n,)
        Optics group of each, from 0.
    terms
        The Fourier terms.
    spectra : (n, q) complex64
        Of the images, over the root of the mean power of their shell and group, each image with a mean power of 1.
    deviation : (g, s)
        Those roots.
    """

    table: ParticleTable
    rows: NDArray[np.int64]
    group: Tensor
    terms: Terms
    spectra: Tensor
    deviation: Tensor

    def __len__(self) -> int:
        """Particles."""
        return len(self.rows)

    def select(self, members: Tensor | slice) -> Sample:
        """Keep some particles."""
        rows = self.rows[members if isinstance(members, slice) else members.numpy()]
        return replace(self, rows=rows, group=self.group[members], spectra=self.spectra[members])


def draw_sample(images: ParticleImages, seed: int) -> Sample:
    """Read some particles of each optics group; the same seed gives the same.

    Raises
    ------
    UserError
        An image that cannot be read; see `ParticleImages.read`.
    """
    table = images.table.per_image
    rows = _draw_rows(table, np.random.default_rng(seed))
    generator = torch.Generator().manual_seed(seed)
    terms = Terms.of(table.box, table.pixel_size_angstroms, generator, table.coarsest_pixel_angstroms)
    parts = [rfft2(images.read(batch)).flatten(1)[:, terms.index] for batch in np.split(rows, range(BATCH, len(rows), BATCH))]
    group = torch.from_numpy(table.optics_group[rows])
    spectra, deviation = _whitened(torch.cat(parts), group, terms, len(table.optics.numbers))
    return Sample(table, rows, group, terms, spectra, deviation)


def _draw_rows(table: ParticleTable, rng: np.random.Generator) -> NDArray[np.int64]:
    """(n,) rows in random order within each group, one for each image; of a tilt series that before which the dose was least."""
    order = rng.permutation(len(table))
    if DOSE in table.ctf_columns:
        order = order[np.argsort(table.ctf_columns[DOSE][order], kind="stable")]
    first = order[np.unique(table.copy_of[order], return_index=True)[1]]
    first = first[np.argsort(rng.random(len(first)))]
    groups = np.unique(table.optics_group)
    count = max(PARTICLES // len(groups), min(FEWEST_OF_GROUP, MOST_PARTICLES // len(groups)), 2)
    return np.concatenate([first[table.optics_group[first] == group][:count] for group in groups])


def _whitened(spectra: Tensor, group: Tensor, terms: Terms, n_groups: int) -> tuple[Tensor, Tensor]:
    """Spectra (n, q) of mean power 1 in every shell of a group and in every image, and the roots (g, s) that were divided by."""
    independent = terms.independent.clamp(min=1e-6)
    power = terms.sum_of_shells(spectra.abs().square() * terms.weights) / independent  # (n, s)
    # of all images the same, so that a bright speck or a bright half of the data does not count for more
    power = power / power.mean(1, keepdim=True).clamp(min=1e-30)
    deviation = torch.ones(n_groups, terms.n_shells)
    for number in group.unique().tolist():
        deviation[number] = power[group == number].median(0).values.clamp(min=1e-12).sqrt()
    white = spectra / deviation[group][:, terms.shells]
    strength = (white.abs().square() * terms.weights).sum(1, keepdim=True) / terms.weights.sum()
    return white / strength.clamp(min=1e-30).sqrt(), deviation
