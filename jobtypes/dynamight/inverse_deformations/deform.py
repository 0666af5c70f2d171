"""Tool `deform`: an atomic model carried from the consensus to the state of a particle, along a whole path, or back."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jobtypes.common.job_paths import find_job, working_directory
from jobtypes.dynamight import layout
from relion_jobs.contract.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from jobtypes.common.atomic_models import AtomicModel
    from jobtypes.dynamight.model.inverse_displacement import InverseHalf
    from jobtypes.dynamight.model.result import ForwardResult, HalfResult

_NEWTON_STEPS = 3  # from a network's answer, or from that of 20 fixed-point steps, the second leaves rounding


def main(argv: Sequence[str]) -> int:
    """Write the deformed model and say how far it moved; returns the exit code 0."""
    arguments = _parser().parse_args(list(argv))
    if arguments.to_consensus and (arguments.motion or arguments.path):
        raise UserError("--to-consensus carries one state back; give --particle or --latent with it, not a path.")
    for name in ("path", "maps"):
        if getattr(arguments, name):
            setattr(arguments, name, getattr(arguments, name).absolute())
    source, target = arguments.model.absolute(), arguments.output.absolute()
    project, directory = find_job(arguments.job_directory)
    checkpoint = str(arguments.checkpoint_file.absolute()) if arguments.checkpoint_file else ""
    with working_directory(project):
        from jobtypes.common.atomic_models import AtomicModel, format_of
        from jobtypes.dynamight.model.inverse_displacement import load_inverses
        from jobtypes.dynamight.model.result import load_centred_result

        format_of(target)
        model = AtomicModel(source)
        forward = load_centred_result(directory, checkpoint)
        if arguments.motion or arguments.path:
            _write_path(forward, directory, model, target, arguments)
            return 0
        part, latent = state(forward, particle=arguments.particle, latent=arguments.latent, half=arguments.half_set)
        inverses = load_inverses(directory, forward) if arguments.to_consensus else None
        centre = forward.box // 2 * forward.pixel_size_angstroms  # of the box, in the frame of the maps
        before = model.positions - centre
        refuse_strangers(before, part, model.path)
        if arguments.to_consensus:
            after, sentence = to_consensus(part, latent, before, inverses[part.half] if inverses else None)
        else:
            after, sentence = to_state(part, latent, before), ""
        model.write(target, after + centre)
    moved = (after - before).norm(dim=1)
    way = "from the state to the consensus" if arguments.to_consensus else "from the consensus to the state"
    _say(f"Half {part.half}: {len(moved)} atoms {way}, by {moved.square().mean().sqrt():.2f} A rms, at most {moved.max():.2f} A.")
    if sentence:
        _say(sentence)
    _say(f"Wrote {target}.")
    return 0


def _write_path(forward: ForwardResult, directory: Path, model: AtomicModel, target: Path, arguments: argparse.Namespace) -> None:
    """Carry a model along a main motion, or through listed latents."""
    from jobtypes.dynamight.inverse_deformations.model_path import along, coordinates_of, write_path, write_script
    from jobtypes.dynamight.visualization.session import Session

    session = Session(directory, forward, arguments.half_set)
    coordinates = coordinates_of(session, motion=arguments.motion, latents_file=arguments.path, frames=arguments.frames)
    centre = forward.box // 2 * forward.pixel_size_angstroms
    before = model.positions - centre
    refuse_strangers(before, session.part, model.path)
    path = along(session, coordinates, before, arguments.b_factor)
    sentences = write_path(model, path, centre, target, keeps_geometry=arguments.keep_geometry)
    script = write_script(target, path, arguments.maps)
    apart = (path.states[-1] - path.states[0]).norm(dim=1)
    _say(
        f"Half {arguments.half_set}: {len(model)} atoms in {len(path.states)} states; between the first and the last by "
        f"{apart.square().mean().sqrt():.2f} A rms, at most {apart.max():.2f} A. B factors: {arguments.b_factor} in A."
    )
    for sentence in sentences:
        _say(sentence)
    _say(f"Wrote {target}, and {script.name}, which plays it in ChimeraX.")


def state(
    forward: ForwardResult, *, particle: int | None, latent: Sequence[float] | None, half: int
) -> tuple[HalfResult, Tensor]:
    """Half set and latent (d,) of a state.

    Parameters
    ----------
    forward
        The trained job.
    particle
        Number of a particle in the job's STAR file, counted from 1, whose half set it is then; or None.
    latent
        Its d numbers otherwise.
    half
        Half set in whose latent space they are.

    Raises
    ------
    UserError
        There is no such particle, or the latent has another number of dimensions.
    """
    import torch

    if particle is not None:
        for part in forward.halves.values():
            places = (part.rows == particle - 1).nonzero()[0]
            if len(places):
                return part, part.latent_mean[int(places[0])]
        count = 1 + max(int(part.rows.max()) for part in forward.halves.values())
        if 1 <= particle <= count:
            raise UserError(
                f"--particle is {particle}, which stands further up in {forward.star_file} already and took no part; name that "
                "one."
            )
        raise UserError(
            f"--particle is {particle}, but {forward.star_file} has {count} particles; give a number from 1 to {count}."
        )
    part = forward.halves[half]
    values = torch.tensor(list(latent or ()), dtype=torch.float32, device=part.latent_mean.device)
    dimensions = part.latent_mean.shape[1]
    if len(values) != dimensions or not bool(torch.isfinite(values).all()):
        raise UserError(f"--latent has {len(values)} numbers; the latents of this job have {dimensions}, all finite.")
    return part, values


def refuse_strangers(positions: Tensor, part: HalfResult, path: Path) -> None:
    """Refuse a model of which most atoms (m, 3) A from the box centre lie where no field was learned."""
    from jobtypes.dynamight.model.displacement import TAPER_END_ANGSTROMS

    outside = float((part.model.field.taper(positions) == 0).float().mean())
    if outside > 0.5:
        raise UserError(
            f"{100 * outside:.0f} % of the atoms of {path} are over {TAPER_END_ANGSTROMS:g} A away from all Gaussians of half "
            f"{part.half}; expected a model that was fitted into this job's map ({layout.half_map(part.half)})."
        )
    if outside > 0:
        _say(f"Warning: {100 * outside:.1f} % of the atoms are far from the map that was deformed; they stay where they are.")


def to_state(part: HalfResult, latent: Tensor, positions: Tensor) -> Tensor:
    """Where consensus positions (m, 3) A lie in the state of a latent (d,): (m, 3) A."""
    return positions + part.model.displacement(latent[None], positions)[0]


def to_consensus(part: HalfResult, latent: Tensor, positions: Tensor, inverse: InverseHalf | None) -> tuple[Tensor, str]:
    """Where positions (m, 3) A of a state lie in the consensus, and how well that is known, in words.

    The inverse network's answer is sharpened by Newton steps with the forward field; without a network a fixed-point inversion
    takes its place.
    """
    from jobtypes.dynamight.model.inverse_displacement import fixed_point_inverse, newton_step

    field = part.model.field
    coefficients = field.coefficients(latent[None]).expand(len(positions), -1)
    if inverse is None:
        found, method = fixed_point_inverse(field, positions, coefficients), "a fixed-point inversion"
    else:
        found, method = inverse.consensus_positions(positions, coefficients, newton_steps=0), "the inverse network"
    for _ in range(_NEWTON_STEPS):
        found = newton_step(field, found, positions, coefficients)
    error = (to_state(part, latent, found) - positions).norm(dim=1)
    sentence = (
        f"Started from {method}; carried forward again, atoms come back to {error.median():.2g} A (largest {error.max():.2g} A)."
    )
    if error.max() > 0.2:
        sentence += f" {int((error > 0.2).sum())} atoms do not: the deformation folds there and has no inverse."
    return found, sentence


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="relion_jobs deform",
        description=f"Carry an atomic model that was fitted into the consensus map of a job ({layout.half_map(1)}) along "
        "the deformation of a particle or latent, or along a whole path; or, with --to-consensus, back to the consensus.",
    )
    add = parser.add_argument
    add("job_directory", metavar="JOB_DIR", help="e.g. DynaMight/job002/")
    add("--model", type=Path, required=True, metavar="FILE", help="PDB or mmCIF file, in the frame of the job's maps")
    add("--output", type=Path, required=True, metavar="FILE", help="file to write; its ending says in which format")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--particle", type=int, metavar="N", help="state of this particle of the job's STAR file, counted from 1")
    which.add_argument("--latent", type=float, nargs="+", metavar="Z", help="state of this latent, one number per dimension")
    which.add_argument(
        "--motion", type=int, metavar="M", help="a path along this main motion, counted from 1: models of one file"
    )
    which.add_argument("--path", type=Path, metavar="FILE", help="a path through the latents in a text file, one in each line, "
        "as the page of the job saves them")  # fmt: skip
    add("--frames", type=int, default=21, metavar="N", help="states along a main motion (default %(default)s)")
    add("--b-factor", choices=("displacement", "disagreement"), default="displacement", help="of a path, in A: from the "
        "consensus, or of the half sets' models about held-out particles (default %(default)s)")  # fmt: skip
    add("--keep-geometry", action="store_true", help="of a path: move atoms by as little as gives bonds and angles their lengths")
    add("--maps", type=Path, metavar="FOLDER", help="movie of the same path, whose maps the script shows in step")
    add("--half-set", type=int, choices=(1, 2), default=1, help="half set of the latent or path (default 1)")
    add("--to-consensus", action="store_true", help="the model is in that state; carry it back to the consensus")
    add("--checkpoint-file", type=Path, metavar="C", help="checkpoint of the forward deformations (default: the last)")
    return parser
