"""What a look at the inputs has found, in words, and what it means for the job."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jobtypes.common.agreement.readings import MapSlices
from jobtypes.common.agreement.samples import Sample, draw_sample
from jobtypes.common.agreement.search import FEWEST_PARTICLES, PROBABLE, Fit, find_fit
from jobtypes.common.particle_images import ParticleImages

SAME_REFINEMENT = "give the map and the run_data.star of one and the same refinement"


@dataclass(frozen=True)
class GroupCurve:
    """Correlation of images and projections of the map over the shells, of an optics group.

    Attributes
    ----------
    name
        Of the group.
    frequencies_per_angstrom : (s,)
        Of the shells.
    given, best : (s,)
        With the inputs as they are, and as they fit best.
    chance : (s,)
        What a correlation scatters by where images and projections have nothing in common.
    """

    name: str
    frequencies_per_angstrom: NDArray[np.float64]
    given: NDArray[np.float64]
    best: NDArray[np.float64]
    chance: NDArray[np.float64]


@dataclass(frozen=True)
class InputFindings:
    """What was found.

    Attributes
    ----------
    sentences
        What fits, and what is made of phase-flipped images.
    warnings
        What may be wrong.
    errors
        What is wrong beyond doubt, each without the way to go on nevertheless.
    phase_flipped : (g,) bool
        Which optics groups are phase-flipped, as the images say where they do.
    curves
        One for each optics group that has particles.
    """

    sentences: tuple[str, ...]
    warnings: tuple[str, ...]
    errors: tuple[str, ...]
    phase_flipped: NDArray[np.bool_]
    curves: tuple[GroupCurve, ...]


def find_agreement(images: ParticleImages, volume: Tensor, seed: int) -> InputFindings:
    """Compare some particles of each optics group with a map (N, N, N) of their box, before anything is learned from them.

    Particles of both half sets are looked at together: what comes of it is whether the inputs belong together, and which optics
    groups are phase-flipped.

    Raises
    ------
    UserError
        An image that cannot be read.
    """
    sample = draw_sample(images, seed)
    slices = MapSlices(volume, sample.terms)
    fits = {number: find_fit(sample.select(sample.group == number), slices) for number in sample.group.unique().tolist()}
    optics = images.table.optics
    flipped = optics.phase_flipped.copy()
    for number, fit in fits.items():
        flipped[number] = _is_phase_flipped(fit, bool(flipped[number]))
    words = _Words(images.table.path, optics.names, n_groups=len(fits))
    return InputFindings(
        sentences=(words.fitting(fits, sample), *words.phase_flipped(fits, flipped, optics.phase_flipped)),
        warnings=words.warnings(fits),
        errors=words.errors(fits),
        phase_flipped=flipped,
        curves=tuple(_curve(optics.names[number], fit, sample) for number, fit in fits.items()),
    )


def _is_phase_flipped(fit: Fit, said: bool) -> bool:
    found = [fault.phase_flipped for fault in fit.faults if fault.phase_flipped is not None]
    return found[-1] if found and fit.is_certain else said


def _faults(fit: Fit) -> tuple[str, str]:
    """What an optics group fits, and the remedies; empty where that is what the inputs say, phase-flipped or not."""
    named = [fault for fault in fit.faults if fault.phase_flipped is None or not fit.is_certain]
    what, remedy = ", and ".join(fault.what for fault in named), "; ".join(fault.remedy for fault in named)
    if named and not fit.poses.fits_well:
        remedy = f"but that does not fit well either, so that the map may be of another molecule: {SAME_REFINEMENT}, or {remedy}"
    return what, remedy


class _Words:
    """Sentences about the optics groups of a STAR file."""

    def __init__(self, path: Path, names: tuple[str, ...], n_groups: int) -> None:
        self._path, self._names, self._n_groups = path, names, n_groups

    def _particles(self, numbers: list[int]) -> str:
        """The particles of some optics groups, as the subject of a sentence."""
        if len(numbers) == self._n_groups:
            return f"the particles of {self._path}"
        return f"the particles of {self._path} in optics group(s) {', '.join(self._names[number] for number in numbers)}"

    def fitting(self, fits: dict[int, Fit], sample: Sample) -> str:
        """How many particles fit the map, and how far."""
        counts = [len(fit.given.cross) for fit in fits.values()]
        share = sum(fit.poses.share * count for fit, count in zip(fits.values(), counts, strict=True)) / sum(counts)
        finest = max(_finest_shell(fit) for fit in fits.values())
        reach = f", down to {sample.terms.box_length_angstroms / finest:.1f} A" if finest else ""
        return (
            f"Inputs: {sum(counts)} particles of {len(fits)} optics group(s) were compared with projections of the map; "
            f"{100 * share:.0f} % fit better at their own pose than at that of another{reach}."
        )

    def phase_flipped(self, fits: dict[int, Fit], found: NDArray[np.bool_], said: NDArray[np.bool_]) -> list[str]:
        """What is made of groups that are phase-flipped, or said to be."""
        uses = {True: "phase-flipped; the modulus of the CTF is used", False: "not phase-flipped; the CTF is used as it is"}
        sentences = []
        for is_flipped, was_said in ((True, True), (True, False), (False, True)):
            numbers = [number for number in fits if (bool(found[number]), bool(said[number])) == (is_flipped, was_said)]
            how = (
                "as rlnCtfDataArePhaseFlipped says"
                if is_flipped == was_said
                else (f"as they fit the map so and not otherwise, although rlnCtfDataArePhaseFlipped is {int(was_said)}")
            )
            if numbers:
                sentences.append(f"Inputs: {self._particles(numbers)} are {uses[is_flipped]}, {how}.")
        return sentences

    def errors(self, fits: dict[int, Fit]) -> tuple[str, ...]:
        """Certain faults; groups that share one are named together."""
        sentences = [
            f"{self._particles(numbers)} fit {what} ({self._evidence(numbers, fits)}): {remedy}"
            for (what, remedy), numbers in self._by_fault(fits, is_certain=True).items()
        ]
        missing = [number for number, fit in fits.items() if fit.poses.is_missing]
        if missing:
            sentences.append(
                f"{self._particles(missing)} fit the map hardly better at their own poses than at those of others, nor in any "
                "other way that was tried: the poses are of other particles, or the map is of another molecule; "
                f"{SAME_REFINEMENT}"
            )
        return tuple(sentences)

    def warnings(self, fits: dict[int, Fit]) -> tuple[str, ...]:
        """Faults that are not certain, and groups of which nothing can be said."""
        sentences = [
            f"{self._particles(numbers)} seem to fit {what} ({self._evidence(numbers, fits)}), which is not certain: {remedy}."
            for (what, remedy), numbers in self._by_fault(fits, is_certain=False).items()
        ]
        unclear = [number for number, fit in fits.items() if not fit.poses.is_there and not fit.poses.is_missing]
        if len(unclear) < len(fits):
            # a group of a few particles is no reason to worry where others fit
            unclear = [number for number in unclear if len(fits[number].given.cross) >= FEWEST_PARTICLES]
        if unclear:
            count = sum(len(fits[number].given.cross) for number in unclear)
            sentences.append(
                f"Whether {self._particles(unclear)} fit the map at their poses cannot be told from {count} particles, which "
                "have too little signal or are too few: check that map and poses are of the same refinement."
            )
        return tuple(sentences)

    def _by_fault(self, fits: dict[int, Fit], *, is_certain: bool) -> dict[tuple[str, str], list[int]]:
        groups: dict[tuple[str, str], list[int]] = {}
        for number, fit in fits.items():
            what, remedy = _faults(fit)
            if what and fit.is_certain == is_certain and not fit.poses.is_missing:
                groups.setdefault((what, remedy), []).append(number)
        return groups

    def _evidence(self, numbers: list[int], fits: dict[int, Fit]) -> str:
        lowest = min(fits[number].certainty for number in numbers)
        return f"better than what the files say by {lowest:.1f} times the scatter, in {self._count(numbers, fits)} particles"

    def _count(self, numbers: list[int], fits: dict[int, Fit]) -> int:
        return sum(len(fits[number].given.cross) for number in numbers)


def _finest_shell(fit: Fit) -> int:
    """The last shell up to which the images agree with the map, as the inputs fit best."""
    agrees = fit.best.deviations()[1:] > PROBABLE
    return int(agrees.nonzero().max()) + 1 if bool(agrees.any()) else 0


def _curve(name: str, fit: Fit, sample: Sample) -> GroupCurve:
    terms = sample.terms
    independent = terms.independent
    shells = torch.arange(1, terms.n_shells)
    return GroupCurve(
        name,
        (shells / terms.box_length_angstroms).double().numpy(),
        fit.given.correlations(independent)[1:].double().numpy(),
        fit.best.correlations(independent)[1:].double().numpy(),
        (2 * len(fit.given.cross) * independent[1:]).clamp(min=1e-6).rsqrt().double().numpy(),
    )
