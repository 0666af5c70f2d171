"""Tool `export`: a job's latents, Gaussians and displacements as numpy files."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jobtypes.common.job_paths import find_job, working_directory
from jobtypes.common.whole_files import written_whole
from relion_jobs.contract.errors import UserError

if TYPE_CHECKING:
    from jobtypes.dynamight.model.result import HalfResult

_DEFAULT_PARTICLES = 500


def main(argv: Sequence[str]) -> int:
    """Write the files that `write_export` describes; returns the exit code 0."""
    arguments = _parser().parse_args(list(argv))
    output = arguments.output.absolute()
    project, directory = find_job(arguments.job_directory)
    with working_directory(project):
        from jobtypes.dynamight.model.result import load_centred_result

        forward = load_centred_result(directory, arguments.checkpoint_file)
        numbers = forward.part_numbers
        for part in forward.halves.values():
            write_export(part, output, n_particles=arguments.particles, seed=arguments.seed, part_numbers=numbers)
    return 0


def write_export(
    part: HalfResult, output: Path, *, n_particles: int | None = None, seed: int = 1, part_numbers: Sequence[int] = ()
) -> None:
    """Write the numpy files of one half set h.

    - ``latent_half{h}.npy`` (n_h, d): posterior means, of held-out particles too
    - ``index_half{h}.npy`` (n_h,): 0-based rows of the particle STAR file
    - ``occupancy_half{h}.npy`` (n_h, R): probability that each particle has each of the parts that some lack, by their numbers
    - ``points_half{h}.npy`` (M, 3): Gaussians of the consensus, A from the box centre (voxel N // 2), order x y z
    - ``weights_half{h}.npy`` (M,): their amplitudes
    - ``disp_half{h}.npy`` (P, M, 3) float32: their displacements in A in some particles
    - ``disp_index_half{h}.npy`` (P,): rows of these particles, in ascending order

    Parameters
    ----------
    part
        The half set.
    output
        Directory, made if it is missing.
    n_particles
        P; None: 500, or all where there are fewer.
    seed
        Of the draw of the P particles.
    part_numbers
        Of the R parts of both half sets.
    """
    import torch

    n_all = len(part.rows)
    if n_particles is not None and not 1 <= n_particles <= n_all:
        raise UserError(
            f"--particles is {n_particles}, but half {part.half} has {n_all} particles; give a number from 1 to {n_all}."
        )
    count = min(_DEFAULT_PARTICLES, n_all) if n_particles is None else n_particles
    chosen = np.sort(np.random.default_rng((seed, part.half)).choice(n_all, count, replace=False))
    with torch.no_grad():
        latents = part.latent_mean[torch.from_numpy(chosen).to(part.latent_mean.device)]
        displacements = torch.cat([part.model.displacement(batch).float().cpu() for batch in latents.split(64)])
        gaussians = part.model.gaussians
        arrays = {
            "latent": part.latent_mean.cpu().numpy(),
            "index": np.asarray(part.rows, dtype=np.int64),
            "occupancy": np.array([part.occupancy(number) for number in part_numbers]).reshape(-1, n_all).T,
            "points": gaussians.positions.float().cpu().numpy(),
            "weights": gaussians.amplitudes.float().cpu().numpy(),
            "disp": displacements.numpy(),
            "disp_index": np.asarray(part.rows[chosen], dtype=np.int64),
        }
    for name, array in arrays.items():
        _save(output / f"{name}_half{part.half}.npy", array)


def _save(path: Path, array: np.ndarray[Any, Any]) -> None:
    with written_whole(path) as temporary, open(temporary, "wb") as file:
        np.save(file, array)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="relion_jobs export", description="Write a DynaMight job's latents, Gaussians and displacements as numpy files."
    )
    parser.add_argument("job_directory", metavar="JOB_DIR", help="e.g. DynaMight/job002/")
    parser.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="directory for the files, made if it is missing"
    )
    parser.add_argument(
        "--particles",
        type=int,
        metavar="N",
        help="particles of each half to write displacements of (default: 500, or all of fewer)",
    )
    parser.add_argument("--checkpoint-file", metavar="C", help="checkpoint of the forward deformations (default: the last)")
    parser.add_argument("--seed", type=int, default=1, help="of the draw of these particles (default 1)")
    return parser
