"""Where the map would have to be moved for the particles to fit it, in three dimensions, from their cross spectra with it."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from jobtypes.common.agreement.readings import MapSlices, Reading, chunks
from jobtypes.common.agreement.samples import Sample
from jobtypes.common.fourier import irfft3


def displacement(sample: Sample, slices: MapSlices, reading: Reading) -> Tensor:
    """The shift (3,) in A, x first, at which the map fits best, to a voxel of the finest resolution that is compared.

    An image of a map that is moved by t has its terms turned by exp(-2 pi i k.t): the cross spectra, put together at the places
    k of their terms in the map, are those of a map with a peak at t.
    """
    terms = sample.terms
    size = 2 * terms.n_shells
    grid = torch.zeros(size**3, dtype=torch.complex64)
    unmoved = replace(reading, map_shift_angstroms=torch.zeros(3))
    for part in chunks(sample):
        cross = slices.predict(unmoved, sample, part).conj() * sample.spectra[part] * terms.weights
        places = slices.harmonics(unmoved, part).round().long()
        for sign, values in ((1, cross), (-1, cross.conj())):
            x, y, z = ((sign * places) % size).unbind(-1)
            grid.index_add_(0, ((z * size + y) * size + x).flatten(), values.flatten())
    half = grid.view(size, size, size)[..., : size // 2 + 1]
    peak = int(irfft3(half.contiguous(), size).argmax())
    voxel = torch.tensor([peak % size, peak // size % size, peak // size**2]) - size // 2
    return voxel * (terms.box_length_angstroms / size)
