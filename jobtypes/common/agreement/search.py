"""Which way to take the inputs fits the particles of an optics group."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from jobtypes.common.agreement.alternatives import (
    Alternative,
    all_alternatives,
    of_defocus_factor,
    of_displacement,
    of_map_size,
    with_defocus_times,
    with_map_size,
)
from jobtypes.common.agreement.comparison import ImageAgreement, certainty, compare
from jobtypes.common.agreement.displacement import displacement
from jobtypes.common.agreement.readings import MapSlices, Reading, chunks
from jobtypes.common.agreement.samples import Sample

FEW, LOOKED_AT = 64, 4  # particles that say which alternatives are worth a look by all of them, and how many those are
CERTAIN, PROBABLE = 7.0, 4.0  # times the scatter of a mean
LEAST_GAIN = 30.0  # of log-likelihood
WORTH_SAYING = 0.05  # of the gain of the better way
FEWEST_PARTICLES = 10  # from which anything is certain
MOST_FAULTS = 3
SIZES = tuple(1.05**step for step in range(-18, 19))  # of the molecule in the map: 0.42 to 2.4
DEFOCUSES = tuple(1.07**step for step in range(-16, 17))  # factors of the defocus: 0.34 to 3
FINE_STEPS = tuple(1 + step / 100 for step in range(-4, 5))
SMALLEST_CHANGE = 0.03  # of a size or a defocus; less is an error of measurement
SMALLEST_SHIFT_PIXELS = 1.5  # of the map; programs that mirror or transform a map move it by a pixel
SHUFFLES = 3
# Of the gain that is expected of right poses: sound inputs reach it, other molecules reach a part of it, other poses nothing.
LITTLE, WELL = 0.4, 0.7
# Where maps are hardly changed by sharpening, and where most of them agree to some degree even at wrong poses.
COARSE_ANGSTROMS, COARSEST_ANGSTROMS = 12.0, 25.0


@dataclass(frozen=True)
class PoseGain:
    """What particles gain at their own poses over those of others, in log-likelihood.

    Attributes
    ----------
    found, scatter
        What they do, and how far that is off by chance.
    expected
        What they should in the coarser shells where the own poses are right, as strong as the signal is.
    share
        Of the particles, those that gain.
    """

    found: float
    scatter: float
    expected: float
    share: float

    @property
    def is_there(self) -> bool:
        """Whether particles fit better at their own poses than at others: true for sound inputs."""
        return self.found > PROBABLE * self.scatter

    @property
    def is_missing(self) -> bool:
        """Whether own poses are certainly little or no better than others, although the signal would show it."""
        return LITTLE * self.expected - self.found > PROBABLE * self.scatter

    @property
    def fits_well(self) -> bool:
        """Whether own poses are as much better than others as the signal lets expect."""
        return self.found > WELL * self.expected


@dataclass(frozen=True)
class Fit:
    """How the particles of an optics group fit the map.

    Attributes
    ----------
    given, best
        With the inputs as they are, and as they fit best.
    faults
        What has to be taken otherwise for that; if that is not certain, the first thing only.
    certainty
        Of the first of them, in multiples of its scatter.
    poses
        What the poses tell, the faults put right.
    """

    given: ImageAgreement
    best: ImageAgreement
    faults: tuple[Alternative, ...]
    certainty: float
    poses: PoseGain

    @property
    def is_certain(self) -> bool:
        """Whether the faults are there beyond doubt."""
        return self.certainty > CERTAIN and len(self.given.cross) >= FEWEST_PARTICLES


def find_fit(sample: Sample, slices: MapSlices) -> Fit:
    """Take the inputs of an optics group as they are; then whatever fits certainly better, until nothing does."""
    reading = Reading.of_rows(sample, sample.rows)
    given = best = compare(sample, slices, reading)
    faults: list[Alternative] = []
    first_certainty = 0.0
    while len(faults) < MOST_FAULTS:
        found = _better(sample, slices, reading, best.gains())
        if found is None or (faults and found[1] < CERTAIN):
            break
        alternative, sure = found
        faults.append(alternative)
        first_certainty = first_certainty or sure
        reading = _settled(sample, slices, alternative.change(reading))
        best = compare(sample, slices, reading)
        if sure < CERTAIN:
            break
    return Fit(given, best, tuple(faults), first_certainty, _pose_gain(sample, slices, reading, best))


def _settled(sample: Sample, slices: MapSlices, reading: Reading) -> Reading:
    """The reading with the map moved by the pixel by which programs that mirror a map may move it, where that fits better."""
    shift = displacement(sample, slices, reading)
    if float((shift - reading.map_shift_angstroms).abs().max()) > SMALLEST_SHIFT_PIXELS * sample.terms.pixel_size_angstroms:
        return reading
    moved = replace(reading, map_shift_angstroms=shift)
    gains = [float(compare(sample, slices, one).gains().sum()) for one in (reading, moved)]
    return moved if gains[1] > gains[0] else reading


def _better(sample: Sample, slices: MapSlices, reading: Reading, gains: Tensor) -> tuple[Alternative, float] | None:
    """The commonest of the alternatives that fit best, if they fit better, and how certain that is."""
    looked_at = [
        (alternative, compare(sample, slices, alternative.change(reading)).gains())
        for alternative in _worth_a_look(sample.select(slice(FEW)), slices, reading.first(FEW))
    ]
    if not looked_at:
        return None
    highest = max((found for _, found in looked_at), key=lambda found: float(found.sum()))
    alternative, found = next((one, found) for one, found in looked_at if abs(certainty(highest, found)) < PROBABLE)
    more, sure = float((found - gains).sum()), certainty(found, gains)
    worth = more > max(LEAST_GAIN, WORTH_SAYING * float(found.sum()))
    return (alternative, sure) if worth and sure > PROBABLE else None


def _worth_a_look(few: Sample, slices: MapSlices, reading: Reading) -> list[Alternative]:
    """The alternatives that a few particles fit best, commonest first."""

    def gain(changed: Reading) -> float:
        return float(compare(few, slices, changed).gains().sum())

    before = gain(reading)
    known = [*all_alternatives(few), *_moved(few, slices, reading), *_searched(few, reading, gain)]
    gained = [(gain(alternative.change(reading)) - before, alternative) for alternative in known]
    best = sorted((more for more, _ in gained), reverse=True)[:LOOKED_AT]
    return [alternative for more, alternative in gained if more > 0 and more >= best[-1]]


def _moved(few: Sample, slices: MapSlices, reading: Reading) -> Iterator[Alternative]:
    shift = displacement(few, slices, reading)
    if float((shift - reading.map_shift_angstroms).abs().max()) > SMALLEST_SHIFT_PIXELS * few.terms.pixel_size_angstroms:
        yield of_displacement(shift, few)


def _searched(few: Sample, reading: Reading, gain: Callable[[Reading], float]) -> Iterator[Alternative]:
    """The best size of the molecule in the map, and the best factor of the defocus."""
    for change, named, factors in ((with_map_size, of_map_size, SIZES), (with_defocus_times, of_defocus_factor, DEFOCUSES)):
        gains = {factor: gain(change(reading, factor)) for factor in factors}
        near = [max(gains, key=gains.__getitem__) * step for step in FINE_STEPS]
        gains = {factor: gain(change(reading, factor)) for factor in near}
        best = max(gains, key=gains.__getitem__)
        if abs(math.log(best)) > SMALLEST_CHANGE:
            yield named(best, few)


def _pose_gain(sample: Sample, slices: MapSlices, reading: Reading, own: ImageAgreement) -> PoseGain:
    """Compare particles at their own poses with themselves at those of others of the sample."""
    n = len(sample)
    gains, others = own.gains(), torch.zeros(n)
    expected = 0.0
    for number in range(1, SHUFFLES + 1):
        order = torch.roll(torch.arange(n), max(1, number * n // (SHUFFLES + 1)))
        shuffled = replace(reading, angles_degrees=reading.angles_degrees[order])
        other = compare(sample, slices, shuffled)
        others += other.gains() / SHUFFLES
        expected += _expected(sample, own, other, _related(sample, slices, reading, shuffled)) / SHUFFLES
    more = gains - others
    scatter = float(more.std() * n**0.5) if n > 1 else math.inf
    return PoseGain(float(more.sum()), scatter, expected, float((more > 0).double().mean()))


def _expected(sample: Sample, own: ImageAgreement, other: ImageAgreement, related: Tensor) -> float:
    """What own poses should gain over others in the coarser shells, with the strength of the signal in the coarsest.

    Where the poses are right, other poses explain as much of an image as the squared correlation of both predictions.
    """
    resolution = sample.terms.box_length_angstroms / torch.arange(sample.terms.n_shells).clamp(min=0.5)
    strength_from, coarse = resolution > COARSEST_ANGSTROMS, resolution > COARSE_ANGSTROMS
    energy, energy_other = own.energy.sum(0), other.energy.sum(0)
    strength = own.cross.sum(0)[strength_from].sum().clamp(min=0) / energy[strength_from].sum().clamp(min=1e-30)
    shared = related.square() / (energy * energy_other).clamp(min=1e-30)
    return float((strength.square() * energy * (1 - shared))[coarse].sum())


def _related(sample: Sample, slices: MapSlices, first: Reading, second: Reading) -> Tensor:
    """(s,) sums of w Re(conj(p) p') over particles and terms, p and p' the predictions of two readings."""
    predicted = torch.cat([slices.predict(first, sample, part) for part in chunks(sample)])
    return compare(replace(sample, spectra=predicted), slices, second).cross.sum(0)
