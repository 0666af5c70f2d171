"""The latent space of a half set as a page holds it: a sample of particles, the density of all, and the network behind it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch import nn

from jobtypes.dynamight.visualization.colourings import occupancy, viewing_directions
from jobtypes.dynamight.visualization.page.packing import Packed, pack, pack_floats
from jobtypes.dynamight.visualization.reductions import Reduction
from jobtypes.dynamight.visualization.session import Session

MOST_SHOWN = 20_000  # particles of a half set, with all that is known of each
MOST_HELD_OUT = 3_000  # among these
SHOWN_MOTIONS = 4  # that axes can be
_SHOWN_LATENTS = 4
_CELLS = 128  # of a side of a density
_MARGIN = 0.1  # around the particles, of their extent
_PLACES = 4096  # steps of the place of a particle that is not shown, along an axis
_LATENT_STEP = 0.002  # of a prior of unit width
_COORDINATE_STEP_ANGSTROMS = 0.005
_COLOUR_STEP = 0.001
_NTH_NEIGHBOUR, _OUTSIDE_FACTOR, _SPARSEST = 5, 1.5, 0.999  # as of `Session.outside`


def shown_particles(session: Session) -> NDArray[np.int64]:
    """Which particles (s,) of a half set are shown, in their order: all, or every so manieth, and held-out ones among them."""
    count, held_out = len(session.part.rows), session.part.held_out
    if count <= MOST_SHOWN:
        return np.arange(count)
    apart = np.flatnonzero(held_out)
    apart = apart[:: -(-len(apart) // MOST_HELD_OUT)] if len(apart) else apart
    others = np.flatnonzero(~held_out)
    return np.sort(np.concatenate((apart, others[:: -(-len(others) // (MOST_SHOWN - len(apart)))])))


def network_of(session: Session) -> dict[str, Any]:
    """Latent -> coordinates along the main motions (D,) in A: layers of weights (o, i) and biases (o,), an ELU between them.

    The last layer is that of the branch and what `PrincipalMotions.coordinates` does to it, in one.
    """
    field, motions = session.model.field, session.motions
    layers = [layer for layer in field.branch if isinstance(layer, nn.Linear)]
    last = layers[-1]
    to_coordinates = motions.to_coordinates.double().T.cpu()  # (D, K)
    zero = torch.zeros(1, layers[0].in_features, device=last.weight.device)
    origin = (field.branch(zero)[0] + field.reference).double().cpu() + motions.mean.double()
    weights = [(layer.weight.double().cpu(), layer.bias.double().cpu()) for layer in layers]
    weights[-1] = (to_coordinates @ weights[-1][0], to_coordinates @ (weights[-1][1] - origin))
    return {"layers": [{"weight": pack_floats(w.numpy()), "bias": pack_floats(b.numpy())} for w, b in weights]}


def latent_space_of(session: Session, drawings: Sequence[Reduction], *, n_clusters: int, seed: int) -> dict[str, Any]:
    """What the page holds of the particles of a half set.

    Parameters
    ----------
    session
        The half set.
    drawings
        Of all its particles, that no two coordinates or latents are the axes of, such as UMAP.
    n_clusters, seed
        Of the clusters.
    """
    part, shown = session.part, shown_particles(session)
    latents, coordinates = part.latent_mean.cpu().double().numpy(), session.coordinates.double().numpy()
    near = coordinates[:, :SHOWN_MOTIONS]
    held_out = np.flatnonzero(part.held_out[shown])
    content: dict[str, Any] = {
        "count": len(part.rows),
        "rows": pack(part.rows[shown], neighbours=True),
        "latents": pack(latents[shown], step=_LATENT_STEP),
        "coordinates": pack(near[shown], step=_COORDINATE_STEP_ANGSTROMS),
        "outside": _OUTSIDE_FACTOR * _sparsest(near[shown]),
        "directions": pack(viewing_directions(part)[shown], step=0.01),
        "colours": _colours(session, shown, n_clusters=n_clusters, seed=seed),
        "presence": pack(part.presence.cpu().double().numpy()[shown], step=0.01) if part.part_numbers else None,
        "densities": _densities(latents, near, drawings),
        "others": [
            {"name": drawing.method.upper(), "labels": drawing.labels, "points": _placed(drawing.points[shown])}
            for drawing in drawings
        ],
        "held_out": pack(held_out, neighbours=True),
    }
    if len(shown) < len(part.rows):
        content["all"] = {"rows": pack(part.rows, neighbours=True), "places": _placed(near[:, :2])}
    if part.latent_by_other is not None:
        place = np.cumsum(part.held_out) - 1  # of a particle among all that are held out
        by_other = part.latent_by_other.cpu().double().numpy()[place[shown[held_out]]]
        content["latents_by_other"] = pack(by_other, step=_LATENT_STEP)
    return content


def _colours(session: Session, shown: NDArray[np.int64], *, n_clusters: int, seed: int) -> list[dict[str, Any]]:
    """What the particles can be coloured by: name, unit and values; -1 where nothing is known."""
    part = session.part
    columns = {
        ("displacement", "Å rms"): part.rms_displacement.cpu().double().numpy(),
        ("quality", "probability of the molecule"): part.quality.cpu().double().numpy(),
        ("scale", "of the signal"): part.scale.cpu().double().numpy(),
        ("cluster", ""): session.clusters(n_clusters, seed).labels.astype(np.float64) + 1,
    }
    if np.isfinite(session.held_out_error).any():
        columns["error", "Å between the half sets"] = np.nan_to_num(session.held_out_error, nan=-1)
    if part.part_numbers:
        columns["occupancy", "share of the density that is there"] = occupancy(part)
    return [
        {"name": name, "unit": unit, "values": pack(values[shown], step=1.0 if name == "cluster" else _COLOUR_STEP)}
        for (name, unit), values in columns.items()
    ]


def _densities(
    latents: NDArray[np.float64], coordinates: NDArray[np.float64], drawings: Sequence[Reduction]
) -> dict[str, dict[str, Any]]:
    """All particles counted in cells, by kind of drawing and its two axes, e.g. ``motion 0 1``."""
    found = {}
    for kind, values, most in (("motion", coordinates, SHOWN_MOTIONS), ("latent", latents, _SHOWN_LATENTS)):
        shown = min(most, values.shape[1])
        for first in range(shown):
            for second in range(first + 1, shown):
                found[f"{kind} {first} {second}"] = _counted(values[:, (first, second)])
    return found | {f"other {number}": _counted(drawing.points) for number, drawing in enumerate(drawings)}


def _counted(points: NDArray[np.float64]) -> dict[str, Any]:
    low, high = points.min(0), points.max(0)
    margin = np.maximum(_MARGIN * (high - low), 1e-6)
    ranges = np.column_stack((low - margin, high + margin))
    counts, _, _ = np.histogram2d(points[:, 0], points[:, 1], bins=_CELLS, range=ranges)
    return {"ranges": ranges.tolist(), "counts": pack(counts)}


def _placed(points: NDArray[np.float64]) -> Packed:
    """Points (n, c) to a share of their extent that nobody sees."""
    return pack(points, step=max(float(np.ptp(points)) / _PLACES, 1e-9))


def _sparsest(points: NDArray[np.float64]) -> float:
    """Distance in A to the 5th nearest other point that hardly any of the points (n, c) A exceed."""
    nth = min(_NTH_NEIGHBOUR + 1, len(points))
    distance, _ = cKDTree(points).query(points, k=[nth])
    return float(np.quantile(distance, _SPARSEST))
