"""How many particles are enough to find a motion: what one image tells, against how much there is to learn and to prove.

A motion is a pattern of displacements, and a state of each particle along it. Where the pattern is known, an image tells the
state with a signal l: the power of what the motion changes in the image, over that of the noise. Two things take particles.

- *To learn the pattern*, which has p unknowns. Of n images the pattern that is found has the squared cosine

      c = (1 - g / l^2) / (1 + g / l),    g = p / n,

  with the true one, and none at all below n = p / l^2 (Baik, Ben Arous and Peche 2005; Paul 2007, for the principal component
  of n vectors of p numbers); solved for n.
- *To be sure of it.* The log evidence of a held-out image is (l x^2 / (1 + l) - log(1 + l)) / 2, where x is normal of variance
  1 + l (MacKay 2003, chapter 28): its mean is (l - log(1 + l)) / 2 and its deviation l / sqrt(2). The held-out images are enough
  where the mean exceeds as many standard errors as a claim takes (`evidence`).

The signal is that of a part of the molecule as large as the tenth whose motion the log tells at the end, cut from the consensus
map at several places and projected at the poses and CTFs of a sample of particles, against the noise of these images, up to the
resolution of the training. A part that moves by s rms along each axis changes a term at frequency k by the share
1 - exp(-(2 pi k s)^2) of its power, on average over normal displacements. The unknowns are the displacements of the control
points of middle spacing: the wide ones are fewer and few motions fit into them, the narrow ones are left stiff by the strain
until there are more particles. Trainings on simulated sets of 60 to 2000 particles bear this out (docs/measured.md).

What is left out makes motions harder to find: errors of poses, images of something else, and what the training itself loses.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from jobtypes.common.conventions import HALVES
from jobtypes.common.fourier import crop_spectrum_3d, irfft3, rfft3
from jobtypes.dynamight.forward_deformations.evidence import SURE_ERRORS
from jobtypes.dynamight.forward_deformations.plan import HELD_OUT_FRACTION, PIXELS_PER_RESOLUTION, TrainingPlan
from jobtypes.dynamight.forward_deformations.training import HalfTraining
from jobtypes.dynamight.model.control_points import SPACINGS_ANGSTROMS, thinned
from jobtypes.dynamight.model.deformed import undeformed

LEARNED = 0.8  # squared cosine of a pattern that counts as learned
SHARE = 0.1  # of the molecule's density in the part that moves
SAMPLE = 32  # particles that are asked
MOTIONS_ANGSTROMS = (10.0, 5.0, 2.5)  # rms, as rulers
TOO_FEW = "Too few particles"
VIEWS_PER_PIXEL = 3  # particles of a half set for each pixel of the box that leave no gaps in a map


def to_learn(signal: float, unknowns: int) -> float:
    """Particles of which a pattern with so many unknowns is learned, where an image tells of it with that signal."""
    return math.inf if signal <= 0 else unknowns / (1 - LEARNED) * (1 / signal**2 + LEARNED / signal)


def to_be_sure(signal: float) -> float:
    """Particles that train, of a half set whose held-out ones are sure of a pattern that has been learned."""
    told = LEARNED * max(signal, 0.0)
    evidence = told - math.log1p(told)
    held_out = math.inf if evidence <= 0 else 2 * (SURE_ERRORS * told / evidence) ** 2
    return held_out * (1 - HELD_OUT_FRACTION) / HELD_OUT_FRACTION


@dataclass(frozen=True)
class SignalOfPart:
    """What an image tells of a part of the molecule.

    Attributes
    ----------
    power : (q,)
        Of each Fourier term of the part, in units of the noise of a real number; mean over images and parts.
    squared_frequencies : (q,) 1/A^2
        Of the terms.
    unknowns
        Of a pattern of displacements.
    diameter_angstroms
        Of the part, taken as a ball.
    """

    power: Tensor
    squared_frequencies: Tensor
    unknowns: int
    diameter_angstroms: float

    def of_motion(self, rms_angstroms: float) -> float:
        """Signal of a motion by so much, rms in space."""
        along_axis = rms_angstroms**2 / 3
        changed = 1 - (-4 * math.pi**2 * along_axis * self.squared_frequencies).exp()
        return float((self.power * changed).sum())

    def particles(self, rms_angstroms: float) -> float:
        """Particles that train, of a half set, of which a motion by so much is found."""
        signal = self.of_motion(rms_angstroms)
        return max(to_learn(signal, self.unknowns), to_be_sure(signal))

    def smallest_motion(self, particles: int) -> float:
        """The smallest rms motion, A, that so many particles bear; inf where none is found as large as the part itself."""
        low, high = 0.0, self.diameter_angstroms
        if self.particles(high) > particles:
            return math.inf
        while high - low > 1e-3 * high:
            middle = (low + high) / 2
            low, high = (middle, high) if self.particles(middle) > particles else (low, middle)
        return high

    def sentence(self, particles: int, box: int, unit: str = "image") -> str:
        """What so many particles of the smaller half set bear, in words; too few of them are called so."""
        smallest, part = self.smallest_motion(particles), f"a tenth of the molecule, {self.diameter_angstroms:.0f} A across"
        train = f"{particles} different {unit}{' trains' if particles == 1 else 's train'} in the smaller half set"
        if math.isinf(smallest):
            begin = f"{TOO_FEW}: {train}, and no motion of {part}, can be found"
        else:
            begin = f"Enough particles? {train}: a motion of {part}, can be found from {smallest:.1f} A rms on"
        takes = ", ".join(f"{two_digits(self.particles(motion))} by {motion:g} A" for motion in MOTIONS_ANGSTROMS)
        return (
            f"{begin}. One that moves by so much rms takes about: {takes}. Deformed maps of this box take about "
            f"{VIEWS_PER_PIXEL * box} in each half set."
        )


def two_digits(number: float) -> str:
    """A number of particles, rounded to two digits: it is an estimate."""
    return f"{float(f'{number:.2g}'):,.0f}" if number < 1e9 else "more than a billion"


def bearing(plan: TrainingPlan, signal: SignalOfPart) -> str:
    """What motions the particles of a plan bear, in words; copies of one image count once."""
    table = plan.table
    images = min(len(np.unique(table.copy_of[(table.half == half) & ~plan.held_out])) for half in HALVES)
    return signal.sentence(images, table.box, "image" if table.tilts is None else "particle")


@torch.no_grad()
def signal_of_part(training: HalfTraining, plan: TrainingPlan, n_terms: int) -> SignalOfPart:
    """What the images of a half set, whose noise is known, tell of a tenth of the molecule.

    Parameters
    ----------
    training
        Of the half set, begun.
    plan
        Of the training, with the consensus map.
    n_terms
        Leading Fourier terms.
    """
    model, band = training.model, training.observations.band
    batch = training.observations.batch(model.quality.good(training.training)[:SAMPLE], n_terms)
    transfer = model.transfer(batch, n_terms)
    # the noise of a real number has half the power of that of a complex one
    weights = 2 * training.settings.independent_fraction * band.weights[:n_terms] * model.precision(band, n_terms)[batch.group]
    positions, amplitudes = (values.to(transfer.device) for values in voxels_of(plan))

    def predicted(voxels: Tensor) -> Tensor:
        """Fourier terms (b, q) of some voxels in the images."""
        points = undeformed(positions[voxels], len(transfer))
        matrices, shifts = model.poses_of(batch)
        return transfer * training.projector(points, matrices, shifts, amplitudes[voxels][None], n_terms)[:, 0]

    whole = predicted(torch.arange(len(positions), device=positions.device))
    scale = (weights * (whole.conj() * batch.spectra).real).sum() / (weights * whole.abs().square()).sum()
    parts = parts_of(positions, amplitudes)
    power = torch.stack([(weights * predicted(part).abs().square()).mean(0) for part in parts]).mean(0)
    return SignalOfPart(
        (scale.square() * power).cpu().double(),
        band.squared_frequencies[:n_terms].cpu().double(),
        3 * len(thinned(positions, SPACINGS_ANGSTROMS[1])),
        float(np.mean([_diameter(positions[part]) for part in parts])),
    )


def voxels_of(plan: TrainingPlan) -> tuple[Tensor, Tensor]:
    """The molecule in the consensus map: places (n, 3) A from the box centre of the voxels within its surface, and values.

    Voxels are no finer than the band of the training asks for.
    """
    box = plan.table.box
    finest = math.ceil(PIXELS_PER_RESOLUTION * float(plan.band.radius[-1]))
    coarse = min(box, finest + finest % 2)
    density, consensus = (
        volume if coarse == box else irfft3(crop_spectrum_3d(rfft3(volume), coarse), coarse) * (coarse / box) ** 3
        for volume in (plan.seed.density, plan.consensus)
    )
    inside = torch.nonzero(density > plan.seed.threshold)
    positions = (inside.flip(1) - coarse // 2) * (plan.table.pixel_size_angstroms * box / coarse)
    return positions.float(), consensus[tuple(inside.T)]


def parts_of(positions: Tensor, amplitudes: Tensor) -> list[Tensor]:
    """Points, by their index, of compact parts that hold a tenth of the density each, all over the molecule."""
    extent = float((positions - positions.mean(0)).norm(dim=1).max())
    parts = []
    for centre in thinned(positions, extent):
        order = (positions - centre).norm(dim=1).argsort()
        parts.append(order[: 1 + int((amplitudes[order].cumsum(0) < SHARE * amplitudes.sum()).sum())])
    return parts


def _diameter(positions: Tensor) -> float:
    """Of a ball with the radius of gyration of these points (n, 3) A."""
    return 2 * math.sqrt(5 / 3) * float((positions - positions.mean(0)).square().sum(1).mean().sqrt())
