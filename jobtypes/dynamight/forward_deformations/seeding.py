"""Consensus map -> starting model of a half set."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from jobtypes.common.fourier import frequencies_3d, irfft3, rfft3
from jobtypes.common.masks import raised_cosine
from jobtypes.dynamight.model.control_points import ControlPoints
from jobtypes.dynamight.model.displacement import DisplacementField
from jobtypes.dynamight.model.encoder import Encoder, probe_points
from jobtypes.dynamight.model.gaussians import GaussianModel, automatic_threshold, seed_positions
from jobtypes.dynamight.model.half_model import HalfModel
from jobtypes.dynamight.model.observations import Observations
from jobtypes.dynamight.model.poses import RefinedPoses
from jobtypes.dynamight.model.projection import Projector
from relion_jobs.contract.errors import UserError

# All that a half set may know of the consensus map: the two halves share it.
SEED_RESOLUTION_ANGSTROMS = 15.0
INVERTED = 2.0  # times as deep as high: solvent is never that much darker than protein is bright
SEED_EDGE_STARTS = 0.6  # of the frequency at which the low-pass filter ends
# A part that moves, or that some particles lack, is smeared below the surface of the consensus, and what has no Gaussians never
# sharpens: so they are placed down to this share of the level found for the surface, unless that is noise (standard deviations).
SMEARED_SHARE, NOISE_DEVIATIONS = 0.3, 5.0
# One residue weighs 110 Da on average; proteins hold 1.21 A^3 per Da (partial specific volume 0.73 ml/g).
RESIDUE_VOLUME_ANGSTROMS3 = 133.0
PROBE_SPACING_ANGSTROMS, PROBE_MARGIN_ANGSTROMS = 7.0, 14.0
POSE_PRIOR_RADIANS, POSE_PRIOR_PIXELS = 0.015, 0.3


@dataclass(frozen=True)
class ModelSize:
    """How large the model of a half set is: Gaussians, different widths of them, latent dimensions, basis fields."""

    n_gaussians: int
    n_widths: int
    n_latent: int
    n_fields: int


@dataclass(frozen=True)
class Pieces:
    """Where an atomic model has Gaussians placed: on its residues.

    Attributes
    ----------
    positions : (n, 3)
        A from the box centre, order x y z.
    weights : (n,)
        Of each, 1 on average.
    words, warnings
        What they are, and what to beware of.
    """

    positions: Tensor
    weights: Tensor
    words: str
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Seed:
    """What both halves start from: the low-passed consensus map and the level of its surface, or the pieces of an atomic model.

    Attributes
    ----------
    density : (N, N, N)
        Map low-passed to `SEED_RESOLUTION_ANGSTROMS`.
    threshold
        Density at the surface.
    lowest
        Density above which Gaussians are placed.
    pixel_size_angstroms
        Voxel size.
    mask : (N, N, N)
        Where the molecule may move; None: everywhere.
    pieces
        Of an atomic model, on which Gaussians are placed; None: in the density.
    """

    density: Tensor
    threshold: float
    lowest: float
    pixel_size_angstroms: float
    mask: Tensor | None
    pieces: Pieces | None = None

    @property
    def volume_angstroms3(self) -> float:
        """Volume above the threshold."""
        return int((self.density > self.threshold).sum()) * self.pixel_size_angstroms**3

    @property
    def radius_angstroms(self) -> float:
        """Largest distance of what is above the threshold from the centre of the box."""
        places = torch.nonzero(self.density > self.threshold) - self.density.shape[0] // 2
        return float(places.double().norm(dim=1).max()) * self.pixel_size_angstroms

    @property
    def n_residues(self) -> float:
        """Residues of protein that fill the volume."""
        return self.volume_angstroms3 / RESIDUE_VOLUME_ANGSTROMS3

    def gaussians(self, n_gaussians: int, n_widths: int, generator: torch.Generator) -> GaussianModel:
        """Some in the density, as many as asked for, or one on each piece; their amplitudes, 1 on average, are to be scaled."""
        pieces = self.pieces
        if pieces is None:
            positions = seed_positions(self.density, self.lowest, n_gaussians, self.pixel_size_angstroms, generator)
        else:
            positions = pieces.positions
        spacing = (self.volume_angstroms3 / len(positions)) ** (1 / 3)
        width = max(spacing, 0.8 * self.pixel_size_angstroms)
        gaussians = GaussianModel(positions, amplitude=1.0, width_angstroms=width, n_widths=n_widths)
        if pieces is not None:
            gaussians.multiply(torch.ones_like(pieces.weights, dtype=torch.bool), pieces.weights)
        return gaussians


def make_seed(
    consensus: Tensor,
    pixel_size_angstroms: float,
    *,
    threshold: float | None,
    radius_angstroms: float,
    mask: Tensor | None = None,
) -> Seed:
    """Low-pass the consensus map (N, N, N) and find or check its threshold, inside a sphere of the particle's radius.

    With a threshold that is given, Gaussians are placed above it only.

    Raises
    ------
    UserError
        The threshold lies above every voxel of the low-passed map, or the map's contrast is inverted.
    """
    box = consensus.shape[0]
    density = low_passed(consensus, pixel_size_angstroms)
    axis = (torch.arange(box) - box // 2) * pixel_size_angstroms
    inside = (axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2) <= radius_angstroms**2
    density = torch.where(inside, density, density.new_zeros(()))
    highest = float(density.max())
    if highest <= 0:
        raise UserError("The consensus map has no positive density inside the particle diameter; protein must be positive.")
    deepest = float(density.min())
    if -deepest > INVERTED * highest:
        raise UserError(
            f"The contrast of the consensus map is inverted: low-passed to {SEED_RESOLUTION_ANGSTROMS:g} A it goes from "
            f"{deepest:.3g} to {highest:.3g}; protein must be positive (relion_image_handler --multiply_constant -1)."
        )
    if threshold is None:
        threshold = automatic_threshold(density, inside)
        lowest = min(threshold, max(SMEARED_SHARE * threshold, NOISE_DEVIATIONS * _noise(density[inside])))
    elif threshold >= highest:
        raise UserError(
            f"The initial threshold {threshold:g} lies above every voxel of the consensus map low-passed to "
            f"{SEED_RESOLUTION_ANGSTROMS:g} A, whose highest value is {highest:.4g}; leave it empty to have one found."
        )
    else:
        lowest = threshold
    return Seed(density, float(threshold), float(lowest), pixel_size_angstroms, mask)


def low_passed(volume: Tensor, pixel_size_angstroms: float) -> Tensor:
    """A map (N, N, N) without what is finer than `SEED_RESOLUTION_ANGSTROMS`."""
    box = volume.shape[0]
    frequency = frequencies_3d(box, pixel_size_angstroms).norm(dim=-1)
    # nothing beyond the resolution, and a soft edge before it, so that the map does not ring
    falloff = raised_cosine(frequency * SEED_RESOLUTION_ANGSTROMS, SEED_EDGE_STARTS, 1 - SEED_EDGE_STARTS)
    return irfft3(rfft3(volume) * falloff, box)


def _noise(values: Tensor) -> float:
    """Standard deviation of the density outside the molecule, which fills the smaller part: from the median deviation."""
    return 1.4826 * float((values - values.median()).abs().median())


def seed_model(
    seed: Seed,
    observations: Observations,
    projector: Projector,
    *,
    training: Tensor,
    size: ModelSize,
    noise_power: Tensor,
    generator: torch.Generator,
) -> HalfModel:
    """A model of one half set that has seen the low-passed map and this half's images only.

    Parameters
    ----------
    seed
        What both halves start from.
    observations, projector
        This half's images, and the renderer.
    training : (p,)
        Indices of the particles that train; the first few hundred set the scale of the amplitudes.
    size
        Of the model.
    noise_power : (groups, shells)
        First guess of the noise.
    generator
        This half's random numbers, on the CPU.

    Raises
    ------
    UserError
        The images do not correlate with the map.
    """
    gaussians = seed.gaussians(size.n_gaussians, size.n_widths, generator)
    positions = gaussians.positions.detach()
    with torch.random.fork_rng(devices=[]):
        # layers and control points draw their starting values from the global generator
        torch.manual_seed(int(torch.randint(2**31, (1,), generator=generator)))
        model = HalfModel(
            gaussians,
            DisplacementField(
                n_latent=size.n_latent,
                n_fields=size.n_fields,
                control_points=ControlPoints.around(positions, 3 * size.n_fields),
            ),
            Encoder(probe_points(positions, PROBE_SPACING_ANGSTROMS, PROBE_MARGIN_ANGSTROMS), size.n_latent),
            _unrefined_poses(observations, POSE_PRIOR_PIXELS * seed.pixel_size_angstroms),
            noise_power.cpu(),
        )
    model = model.to(observations.device)
    if seed.mask is not None:
        model.field.set_mask(seed.mask, seed.pixel_size_angstroms)
    model.field.set_anchors(model.gaussians.positions, model.gaussians.amplitudes)
    fit_scale(model, observations, projector, training)
    return model


def _unrefined_poses(observations: Observations, shift_sigma_angstroms: float) -> RefinedPoses:
    n_shifts = observations.shifts.shape[1]
    return RefinedPoses(len(observations), POSE_PRIOR_RADIANS, shift_sigma_angstroms, n_shifts=n_shifts)


def generator_of_half(seed: int, half: int) -> torch.Generator:
    """Random numbers of a half set's own, so that neither half depends on the other."""
    generator = torch.Generator()
    generator.manual_seed(seed * 2 + half)
    return generator


@torch.no_grad()
def fit_scale(model: HalfModel, observations: Observations, projector: Projector, training: Tensor, n_images: int = 256) -> None:
    """Set the amplitudes so that projections fit the first images that train best, at low resolution."""
    band = observations.band
    n_terms = band.n_terms(SEED_RESOLUTION_ANGSTROMS)
    sums = torch.zeros(2, dtype=torch.float64)
    for index in observations.share.batches(training[:n_images], 32):
        batch = observations.batch(index)
        predicted = batch.ctf[:, :n_terms] * model.project(model.at_rest(len(index)), *model.poses_of(batch), projector, n_terms)
        precision = model.precision(band, n_terms)[batch.group]
        above = float((predicted.conj() * batch.spectra[:, :n_terms] * precision).real.sum())
        sums += torch.tensor([above, float((predicted.abs().square() * precision).sum())])
    observations.share.crew.sum_(sums)
    above, below = sums.tolist()
    if above <= 0:
        raise UserError(
            "The images do not correlate with the consensus map; check that the particles are white on black and that their "
            "poses belong to this map."
        )
    model.gaussians.log_scale.add_(torch.log(torch.tensor(above / below)))
