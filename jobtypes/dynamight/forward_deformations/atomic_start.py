"""A start from an atomic model instead of the map: Gaussians on its residues, and the refusal of a model that is not in the map.

The model must lie in the frame of the map, in A from its first voxel, as programs for fitting save it. Whether it does is told by
the map low-passed as the seed is: how much of the model lies in density, and whether it would fit better turned or mirrored.

What may come of it is model bias. Both half sets begin with the same details, which no image has shown to either, so that their
agreement beyond the resolution of the low-passed map proves nothing.

Source of the warning: Schwab, Kimanius, Burt, Dendooven and Scheres, Nature Methods 21, 2024, who found artifacts in maps whose
deformations were regularised by atomic models.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import permutations, product
from pathlib import Path

import torch
from scipy.spatial import cKDTree
from torch import Tensor

from jobtypes.common.atomic_models import AtomicModel
from jobtypes.common.fourier import crop_spectrum_3d, irfft3, rfft3
from jobtypes.dynamight.forward_deformations.seeding import SEED_RESOLUTION_ANGSTROMS, Pieces, Seed, low_passed
from jobtypes.dynamight.model.density import DensityRenderer
from relion_jobs.contract.errors import UserError

BIAS = (
    "Model bias: both half sets start from the details of one atomic model, which no image has shown. Where they agree beyond "
    f"{SEED_RESOLUTION_ANGSTROMS:g} A that may be the model and not the data; deformations regularised by atomic models "
    "are known to make artifacts in maps (Schwab et al. 2024). Believe what a job without fn_model shows too."
)
ROUNDING = 0.01  # of correlations
LEAST_INSIDE = 0.5  # of the model that must lie in density
BETTER = 2.0  # times less of the map left unexplained, by which another frame is certain to be the right one
PIXELS_PER_RESOLUTION = 3.0  # of the maps in which frames are compared
WORTH_SAYING = 0.01  # of the map's density, without atoms


@dataclass(frozen=True)
class _Frame:
    """Another meaning of coordinates: positions (n, 3) A from the box centre, how they come from those given, the remedy."""

    positions: Tensor
    how: str
    remedy: str


def start_from_model(seed: Seed, path: Path, most: int) -> Seed:
    """A seed with Gaussians on the residues of a model: two on each, or one where that would be more than `most`.

    Raises
    ------
    UserError
        The model cannot be read, has no atoms, more residues than Gaussians are asked for, or does not lie in the map.
    """
    model = AtomicModel(path)
    per_residue = 2 if len(model.pieces(2)[1]) <= most else 1
    places, weights = model.pieces(per_residue)
    if len(weights) > most:
        raise UserError(
            f"The atomic model {path} has {len(weights)} residues, more than the {most} Gaussians asked for; raise nr_gaussians."
        )
    centre = seed.density.shape[0] // 2 * seed.pixel_size_angstroms
    pieces = Pieces(
        positions=places - centre,
        weights=weights / weights.mean(),
        words=f"{('one', 'up to two')[per_residue - 1]} on each residue of {path.name}, weighted by its atoms",
    )
    coarse = _coarse(seed)
    doubts = [*doubts_about_frame(coarse, pieces, path), *doubts_about_completeness(coarse, pieces)]
    refuse_outside(seed, pieces, path)
    return replace(seed, pieces=replace(pieces, warnings=(BIAS, *doubts)))


def refuse_outside(seed: Seed, pieces: Pieces, path: Path) -> None:
    """Refuse a model of which less than half lies where Gaussians would be placed in the map.

    Raises
    ------
    UserError
        It does.
    """
    inside = _share_inside(seed, pieces.positions, pieces.weights)
    if inside >= LEAST_INSIDE:
        return
    raise UserError(
        f"{100 * (1 - inside):.0f} % of the atomic model {path} lies outside the density of the consensus map (above "
        f"{seed.lowest:.3g} at {SEED_RESOLUTION_ANGSTROMS:g} A); fit it into the map, and save it relative to the map."
    )


def _share_inside(seed: Seed, positions: Tensor, weights: Tensor) -> float:
    box = seed.density.shape[0]
    voxels = (positions / seed.pixel_size_angstroms).round().long() + box // 2
    in_box = ((voxels >= 0) & (voxels < box)).all(1)
    x, y, z = voxels.clamp(0, box - 1).T
    inside = in_box & (seed.density[z, y, x] > seed.lowest)
    return float(weights[inside].sum() / weights.sum())


def doubts_about_frame(seed: Seed, pieces: Pieces, path: Path) -> list[str]:
    """A warning where the model fits a map better in another frame: turned, mirrored, or with another origin.

    Raises
    ------
    UserError
        It leaves less than half as much of the map unexplained there.
    """
    given = _correlation(seed, pieces)
    others = [(_correlation(seed, replace(pieces, positions=frame.positions)), frame) for frame in _other_frames(seed, pieces)]
    best, frame = max(others, key=lambda other: other[0])
    if best <= given + ROUNDING:
        return []
    sentence = (
        f"The atomic model {path} correlates with the consensus map at {SEED_RESOLUTION_ANGSTROMS:g} A by {given:.2f} as it is, "
        f"and by {best:.2f} {frame.how}; {frame.remedy}."
    )
    if 1 - best**2 < (1 - max(given, 0.0) ** 2) / BETTER:
        raise UserError(sentence)
    return [sentence]


def _other_frames(seed: Seed, pieces: Pieces) -> Iterator[_Frame]:
    """Coordinates from the middle of the box, and the axes in another order or direction."""
    centre = seed.density.shape[0] // 2 * seed.pixel_size_angstroms
    from_middle = (
        f"its coordinates are from the middle of the box: add {centre:g} A to each, so that they are from the first voxel"
    )
    yield _Frame(pieces.positions + centre, "moved by half the box", from_middle)
    turned = "turned about the middle of the box", "fit it into the map, and save it relative to the map"
    mirrored = (
        "as its mirror image",
        "one of them has the wrong hand: take the map and the particles of a refinement with the hand of the model",
    )
    for order in permutations(range(3)):
        for signs in product((1.0, -1.0), repeat=3):
            axes = torch.eye(3)[list(order)] * torch.tensor(signs)
            if not torch.equal(axes, torch.eye(3)):
                yield _Frame(pieces.positions @ axes, *(turned if float(torch.det(axes)) > 0 else mirrored))


def doubts_about_completeness(seed: Seed, pieces: Pieces) -> list[str]:
    """A warning where a part of the map has no atoms."""
    voxels = torch.nonzero(seed.density > seed.threshold)
    density = seed.density[tuple(voxels.T)]
    places = (voxels.flip(1) - seed.density.shape[0] // 2) * seed.pixel_size_angstroms
    apart, _ = cKDTree(pieces.positions.numpy()).query(places.numpy())
    missing = float(density[torch.from_numpy(apart) > SEED_RESOLUTION_ANGSTROMS].sum() / density.sum())
    if missing < WORTH_SAYING:
        return []
    return [
        f"{100 * missing:.0f} % of the density of the consensus map is over {SEED_RESOLUTION_ANGSTROMS:g} A away from the atomic "
        "model: no Gaussian is placed there, and nothing there moves or sharpens. Complete the model, or start from the map."
    ]


def _coarse(seed: Seed) -> Seed:
    """The same with a density of as few voxels as its resolution needs."""
    box, length = seed.density.shape[0], seed.density.shape[0] * seed.pixel_size_angstroms
    wanted = 2 * round(length * PIXELS_PER_RESOLUTION / SEED_RESOLUTION_ANGSTROMS / 2)
    if wanted >= box:
        return seed
    density = irfft3(crop_spectrum_3d(rfft3(seed.density), wanted), wanted) * (wanted / box) ** 3
    return replace(seed, density=density, pixel_size_angstroms=length / wanted)


def _correlation(seed: Seed, pieces: Pieces) -> float:
    """Of the density and that of the pieces; 0 where nothing of them is in the box."""
    box, pixel = seed.density.shape[0], seed.pixel_size_angstroms
    gaussians = replace(seed, pieces=pieces).gaussians(len(pieces.weights), 1, torch.Generator())
    rendered = DensityRenderer(gaussians, box, pixel, oversampling=1)(gaussians.positions.detach())
    pair = torch.stack((low_passed(rendered, pixel).flatten(), seed.density.flatten())).double()
    return float(torch.corrcoef(pair)[0, 1].nan_to_num())
