"""What the particles in the latent space, and the Gaussians in a state, are coloured by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates
from torch import Tensor

from jobtypes.dynamight.model.result import HalfResult
from jobtypes.dynamight.outputs import rms_of_gaussians

PARTICLE_COLOURINGS = (
    "amount of motion",
    "direction of motion",
    "location of motion",
    "density",
    "log density",
    "pose",
    "shift",
    "cluster",
    "quality",
    "scale",
    "occupancy",
    "held-out error",
)
GAUSSIAN_COLOURINGS = ("displacement", "occupancy", "disagreement", "amplitude", "width", "position", "part")


@dataclass(frozen=True)
class Colouring:
    """One value, or one colour, for each of m particles or Gaussians.

    Attributes
    ----------
    name
        One of the names above.
    label
        Of the colour bar, with its unit; for colours: what red, green and blue are.
    values : (m,) or None
        Numbers; nan where nothing is known.
    colours : (m, 3) or None
        Red, green and blue, 0 to 1, where a number would not do.
    is_category
        The values are labels from 1.
    is_share
        They are shares, and 1 is as it should be.
    """

    name: str
    label: str
    values: NDArray[np.float64] | None = None
    colours: NDArray[np.float64] | None = None
    is_category: bool = False
    is_share: bool = False


def direction_colours(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Colours (m, 3) of the directions of vectors (m, 3): x red, y green, z blue, from -1 (0) to 1 (1); grey for none."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: NDArray[np.float64] = np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0)
    return 0.5 + 0.5 * unit


def position_colours(positions: NDArray[np.float64], among: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
    """Colours (m, 3) of positions (m, 3): x red, y green, z blue, from the 2nd to the 98th percentile of those `among` (n, 3)."""
    low, high = np.percentile(positions if among is None else among, (2, 98), axis=0)
    colours: NDArray[np.float64] = np.clip((positions - low) / np.maximum(high - low, 1e-6), 0, 1)
    return colours


@torch.no_grad()
def direction_of_motion(part: HalfResult) -> NDArray[np.float64]:
    """(P, 3) mean displacement in A of the mobile part of each particle's molecule, relative to the mean state.

    Gaussians count by amplitude and mobility (rms displacement over all particles): the plain mean displacement is zero, since
    the model knows no motion of the whole.
    """
    field = part.model.field
    mobility = rms_of_gaussians(part) * part.model.gaussians.amplitudes
    basis = field.basis_at_gaussians(part.model.gaussians.positions)
    means = torch.einsum("n,knc->kc", mobility / mobility.sum().clamp(min=1e-12), basis)
    return (_centred(part) @ means).cpu().double().numpy()


@torch.no_grad()
def location_of_motion(part: HalfResult) -> NDArray[np.float64]:
    """(P, 3) where in the molecule the displacement of each particle is, in A from the box centre: the mean position of its
    Gaussians, which count by amplitude and squared displacement from the mean state.
    """  # noqa: D205
    positions, amplitudes = part.model.gaussians.positions, part.model.gaussians.amplitudes
    basis = part.model.field.basis_at_gaussians(positions)
    columns = torch.cat((torch.ones_like(positions[:, :1]), positions), dim=1) * amplitudes[:, None]  # (n, 4)
    coefficients = _centred(part)
    # squared displacement is a quadratic form of the coefficients, and so are its moments
    forms = torch.stack([torch.einsum("knc,lnc->kl", basis * column[:, None], basis) for column in columns.T])
    moments = torch.stack([((coefficients @ form) * coefficients).sum(1) for form in forms], dim=1)  # (P, 4)
    return (moments[:, 1:] / moments[:, :1].clamp(min=1e-12)).cpu().double().numpy()


def _centred(part: HalfResult) -> Tensor:
    coefficients = part.model.field.coefficients(part.latent_mean)
    return coefficients - coefficients[part.good].mean(0)


def occupancy(part: HalfResult) -> NDArray[np.float64]:
    """(P,) share of the density that is there in each particle, by the probabilities that it has each part."""
    amplitudes = part.model.gaussians.amplitudes
    of_parts = part.model.parts.membership @ amplitudes / amplitudes.sum()
    return (1 - (1 - part.presence) @ of_parts).cpu().double().numpy()


def viewing_directions(part: HalfResult) -> NDArray[np.float64]:
    """(P, 3) directions in the map's frame from which the particles were seen, after pose refinement."""
    return part.angles_matrices[:, 2].cpu().double().numpy()


def local_density(points: NDArray[np.float64], cells: int = 96) -> NDArray[np.float64]:
    """Density (P,) of points (P, 2) around each of them, as a share of the largest: a smoothed histogram."""
    low, high = np.percentile(points, (0.1, 99.9), axis=0)
    margin = np.maximum(0.05 * (high - low), 1e-9)
    low, high = low - margin, high + margin
    places = (points - low) / (high - low) * cells
    counts, _, _ = np.histogram2d(places[:, 0], places[:, 1], bins=cells, range=((0, cells), (0, cells)))
    width = max(1.0, 0.25 * cells / len(points) ** (1 / 3))
    density = map_coordinates(gaussian_filter(counts, width), places.T - 0.5, order=1, mode="nearest")
    return np.asarray(density / max(float(density.max()), 1e-12))


def colour_particles(
    part: HalfResult,
    name: str,
    *,
    points: NDArray[np.float64],
    clusters: NDArray[np.int64],
    held_out_error: Callable[[], NDArray[np.float64]],
) -> Colouring:
    """What is asked for in `name`, for all particles of a half set.

    Parameters
    ----------
    part
        The half set.
    name
        One of `PARTICLE_COLOURINGS`.
    points : (P, 2)
        Where the particles are drawn, for the density.
    clusters : (P,)
        Labels from 0.
    held_out_error : callable giving (P,) A
        Disagreement of the halves' models, nan where it is not known.
    """
    match name:
        case "amount of motion":
            return Colouring(name, "rms displacement (Å)", part.rms_displacement.cpu().double().numpy())
        case "direction of motion":
            return Colouring(name, "direction: x red, y green, z blue", colours=direction_colours(direction_of_motion(part)))
        case "location of motion":
            molecule = part.model.gaussians.positions.cpu().double().numpy()
            colours = position_colours(location_of_motion(part), molecule)
            return Colouring(name, "where: x red, y green, z blue", colours=colours)
        case "density":
            return Colouring(name, "density (share of the largest)", local_density(points))
        case "log density":
            exponents: NDArray[np.float64] = np.log10(np.maximum(local_density(points), 1e-4))
            return Colouring(name, "log10 of the density", exponents)
        case "pose":
            colours = direction_colours(viewing_directions(part))
            return Colouring(name, "viewing direction: x red, y green, z blue", colours=colours)
        case "shift":
            return Colouring(name, "length of the shift (Å)", part.shifts_angstroms.norm(dim=1).cpu().double().numpy())
        case "cluster":
            return Colouring(name, "cluster", clusters.astype(np.float64) + 1, is_category=True)
        case "quality":
            return Colouring(name, "quality (probability of the molecule)", part.quality.cpu().double().numpy(), is_share=True)
        case "scale":
            return Colouring(name, "scale of the signal", part.scale.cpu().double().numpy())
        case "occupancy":
            return Colouring(name, "share of the density that is there", occupancy(part), is_share=True)
        case "held-out error":
            return Colouring(name, "disagreement of the halves (Å)", held_out_error())
    raise ValueError(f"no colouring {name}; known are {', '.join(PARTICLE_COLOURINGS)}")


def colour_gaussians(part: HalfResult, name: str, positions: Tensor, disagreement: Callable[[], Tensor]) -> Colouring:
    """What is asked for in `name` for the Gaussians of a state.

    Parameters
    ----------
    part
        The half set.
    name
        One of `GAUSSIAN_COLOURINGS`.
    positions : (n, 3) A
        Where they are in it.
    disagreement : callable giving (n,) A
        Of the halves' models about held-out particles.
    """
    gaussians = part.model.gaussians
    match name:
        case "displacement":
            values, label = (positions - gaussians.positions.cpu()).norm(dim=1), "displacement (Å)"
        case "occupancy":
            shares = 1 - (1 - part.model.parts.share) @ part.model.parts.membership
            return Colouring(name, "share of the particles that have it", shares.cpu().double().numpy(), is_share=True)
        case "disagreement":
            values, label = disagreement(), "disagreement of the halves (Å)"
        case "amplitude":
            values, label = gaussians.amplitudes, "amplitude"
        case "width":
            values, label = gaussians.mean_widths_angstroms, "standard deviation (Å)"
        case "part":
            in_all = max(part.part_numbers, default=0) + 1
            numbers = torch.tensor([in_all, *part.part_numbers], dtype=torch.float64)
            of_gaussians = part.model.parts.channels().argmax(0).cpu()
            label = f"part that some particles lack ({in_all}: in all)"
            return Colouring(name, label, numbers[of_gaussians].numpy(), is_category=True)
        case "position":
            colours = position_colours(gaussians.positions.cpu().double().numpy())
            return Colouring(name, "position: x red, y green, z blue", colours=colours)
        case _:
            raise ValueError(f"no colouring {name}; known are {', '.join(GAUSSIAN_COLOURINGS)}")
    return Colouring(name, label, values.cpu().double().numpy())
