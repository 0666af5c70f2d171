"""An atomic model along a whole path of states: models of one file, what is known of each atom, and a script that plays them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from scipy.spatial import cKDTree
from torch import Tensor

from jobtypes.common.atomic_models import AtomicModel
from jobtypes.common.whole_files import written_whole
from jobtypes.dynamight import layout
from jobtypes.dynamight.colours import DISPLACEMENT_STOPS
from jobtypes.dynamight.inverse_deformations.geometry import Geometry
from jobtypes.dynamight.model.deformed import combine
from jobtypes.dynamight.visualization.given_states import states_of_latents
from jobtypes.dynamight.visualization.held_out import held_out_particles
from jobtypes.dynamight.visualization.session import Session
from relion_jobs.contract.errors import UserError

BFactor = Literal["displacement", "disagreement"]
_FRAMES_WAITED = 2  # of a film, for each state


@dataclass(frozen=True)
class ModelPath:
    """States of an atomic model.

    Attributes
    ----------
    states
        Positions (m, 3) A from the box centre of each state.
    b_factors
        What is written for each atom (m,), A.
    """

    states: list[Tensor]
    b_factors: list[Tensor]


def coordinates_of(session: Session, *, motion: int | None, latents_file: Path | None, frames: int) -> Tensor:
    """(F, D) A of the states along a main motion, counted from 1, or of those whose latents a file lists.

    Raises
    ------
    UserError
        There is no such motion, or the file cannot be read.
    """
    if latents_file is not None:
        return torch.stack([state.coordinates for state in states_of_latents(session, latents_file)])
    assert motion is not None
    return session.traversal(motion - 1, frames)


@torch.no_grad()
def along(session: Session, coordinates: Tensor, positions: Tensor, b_factor: BFactor) -> ModelPath:
    """Carry atoms at positions (m, 3) A of the consensus to states at coordinates (F, D) A.

    Raises
    ------
    UserError
        The disagreement of the half sets is asked for, and there is none.
    """
    model = session.model
    basis = model.field.basis(positions.to(session.coefficients.device)).cpu()
    coefficients = session.motions.coefficients(coordinates)
    moved = combine(coefficients, basis)  # (F, m, 3)
    if b_factor == "disagreement":
        error = held_out_particles(session.forward).disagreements[session.half].gaussian_error
        _, nearest = cKDTree(model.gaussians.positions.cpu().numpy()).query(positions.numpy())
        values = [error[torch.from_numpy(nearest)]] * len(moved)
    else:
        values = list(moved.norm(dim=2))
    return ModelPath([positions + one for one in moved], values)


def write_path(
    model: AtomicModel, path: ModelPath, centre_angstroms: float, target: Path, *, keeps_geometry: bool = False
) -> list[str]:
    """Write the models, with the bonds and angles of the consensus where they are kept; says what became of these."""
    before = model.positions - centre_angstroms
    geometry, states, sentences = Geometry.of(before, model.names, model.is_alpha), path.states, []
    if keeps_geometry:
        states = [geometry.kept(before, state) for state in states]
        moved = torch.cat([kept - state for kept, state in zip(states, path.states, strict=True)]).norm(dim=1)
        rms, most = float(moved.square().mean().sqrt()), float(moved.max())
        sentences = [f"Bonds and angles were kept; that moved atoms by {rms:.2f} A rms, at most {most:.2f} A."]
    model.write_path(target, [state + centre_angstroms for state in states], path.b_factors)
    return sentences + geometry.sentences(before, states)


def write_script(target: Path, path: ModelPath, maps: Path | None) -> Path:
    """Write a ChimeraX script beside the models that plays them, coloured by B factor, with the maps of a movie in step.

    Raises
    ------
    UserError
        The movie has not as many maps as there are states.
    """
    volumes = sorted(maps.glob(layout.VOLUME_PATTERN)) if maps else []
    if maps and len(volumes) != len(path.states):
        raise UserError(
            f"{maps} has {len(volumes)} maps, but the path has {len(path.states)} states; name the movie of this path."
        )
    largest = max(float(values.max()) for values in path.b_factors)
    colours = ":".join(DISPLACEMENT_STOPS)
    lines = [
        f'open "{target.name}"',  # models #1.1, #1.2 ..., each with B factors of its own
        "hide #1 atoms; cartoon #1",
        f"color bfactor #1 palette {colours} range 0,{largest:.2f}",
        *(f'open "{volume.resolve()}" id 2.{number}' for number, volume in enumerate(volumes, start=1)),
        *(["volume #2 style surface transparency 0.6"] if volumes else []),
    ]
    for number in [*range(1, len(path.states) + 1), *range(len(path.states) - 1, 0, -1)]:
        maps_too = f"; hide #2 models; show #2.{number} models" if volumes else ""
        lines.append(f"hide #1 models; show #1.{number} models{maps_too}; wait {_FRAMES_WAITED}")
    script = target.with_suffix(".cxc")
    with written_whole(script) as temporary:
        temporary.write_text("\n".join([*lines, ""]))
    return script
