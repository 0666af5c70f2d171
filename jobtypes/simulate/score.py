"""The command ``relion_jobs score``: a DynaMight job, or exported files, against the known motion of a simulated set."""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobtypes.common.volumes import check_map, read_volume
from jobtypes.common.whole_files import written_whole
from jobtypes.simulate.job import HALF_MAPS
from jobtypes.simulate.latent_measures import Latents, score_latents
from jobtypes.simulate.map_measures import MapAgreement, score_maps
from jobtypes.simulate.motion_measures import DeformationAgreement, score_deformation
from jobtypes.simulate.sentences import table, words
from jobtypes.simulate.truth import FOLDER, Truth, read_truth
from relion_jobs.contract.errors import RelionJobsError, UserError
from relion_jobs.contract.labels import JOB_STAR

EXPORT_FOLDER = "score"
REFINE_HALF_MAP = "run_half1_class001_unfil.mrc"
RECONSTRUCTION = Path("backprojection")


@dataclass(frozen=True)
class Score:
    """All that could be compared; keys of `deformation` and `latents` are halves, of `maps` rigid, oracle and result."""

    deformation: dict[int, DeformationAgreement]
    latents: dict[int, Latents]
    maps: dict[str, MapAgreement]

    @property
    def explained(self) -> float:
        """Explained motion of the moving part, the worse half; NaN where it was not measured."""
        values = [half.moving.explained for half in self.deformation.values() if half.moving]
        return min(values) if values else float("nan")


def main(argv: list[str]) -> int:
    """Run the command; 0 when done, 1 on bad input or when ``--at-least`` is not reached."""
    arguments = _parser().parse_args(argv)
    try:
        result, maps, truth_directory = _places(arguments)
        truth = read_truth(truth_directory)
        score = score_files(truth, result, maps, rigid=Path(arguments.rigid) if arguments.rigid else find_rigid(truth))
        record = {"truth": str(truth.directory), "result": str(result), **as_record(score)}
        if arguments.json:
            with written_whole(arguments.json) as temporary:
                temporary.write_text(json.dumps(record, indent=1) + "\n")
    except RelionJobsError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(
        table(score.deformation, score.latents, score.maps) + "\n\n" + words(score.deformation, score.latents, score.maps) + "\n"
    )
    if arguments.at_least is not None and not score.explained >= arguments.at_least:
        sys.stderr.write(f"Explained motion is {score.explained:.3f}, below the {arguments.at_least:g} asked for.\n")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="relion_jobs score", description=__doc__)
    parser.add_argument("job", nargs="?", help="directory of a DynaMight job; its results are exported and scored")
    parser.add_argument("--truth", help="truth/ folder of the simulated set; default: found beside the job's particle STAR file")
    parser.add_argument("--data", help="folder that holds truth/ (instead of a job, together with --result)")
    parser.add_argument(
        "--result", help="folder with exported files (relion_jobs_dynamight export) and map_half1.mrc, map_half2.mrc"
    )
    parser.add_argument("--rigid", help="first rigid half map; its name holds half1; default: found beside truth/")
    parser.add_argument(
        "--particles", type=int, default=500, help="particles per half whose displacements are exported (default 500)"
    )
    parser.add_argument("--json", help="write all numbers to this file")
    parser.add_argument(
        "--at-least", type=float, help="fail (exit code 1) when less of the motion of either half is explained, e.g. 0.8"
    )
    return parser


def _places(arguments: argparse.Namespace) -> tuple[Path, Path, Path]:
    """Folder of the exported files, folder of the half maps, folder of the truth."""
    if arguments.job:
        if arguments.data or arguments.result:
            raise UserError("Give either a job directory, or --data and --result, not both.")
        job = Path(arguments.job)
        truth = Path(arguments.truth) if arguments.truth else find_truth(job)
        read_truth(truth)  # before the long export
        return export(job, particles=arguments.particles), job / RECONSTRUCTION, truth
    truth_text = arguments.truth or arguments.data
    if not truth_text or not arguments.result:
        raise UserError("Give a job directory, or --data DIR (it holds truth/) and --result DIR (exported files).")
    result = Path(arguments.result)
    if not result.is_dir():
        raise UserError(f"The folder {result} does not exist; give the folder that 'relion_jobs_dynamight export' wrote.")
    return result, result, Path(truth_text)


def find_truth(job: Path) -> Path:
    """Find the folder truth/ of the particles that a job used: beside its particle STAR file, or in a folder above.

    Raises
    ------
    UserError
        No such job, or its particles have no known motion.
    """
    path = job / JOB_STAR
    if not path.is_file():
        raise UserError(f"{job} is no job directory (it holds no {JOB_STAR}); give one such as DynaMight/job002.")
    rows = (line.split() for line in path.read_text().splitlines())
    star = next((row[1].strip("\"'") for row in rows if len(row) == 2 and row[0] == "fn_star"), "")
    if not star:
        raise UserError(f"{path} names no particle STAR file (fn_star); give the truth with --truth.")
    project = next((folder for folder in job.resolve().parents if (folder / star).is_file()), None)
    if project is None:
        raise UserError(f"The particle STAR file {star} that {path} names does not exist; give the truth with --truth.")
    for folder in (project / star).resolve().parents:
        if (folder / FOLDER / "model.npz").is_file():
            return folder / FOLDER
    raise UserError(
        f"No truth/ folder lies beside {star} or above; only simulated sets can be scored. "
        "Give it with --truth if it is elsewhere."
    )


def find_rigid(truth: Truth) -> Path | None:
    """First rigid half map of a set: half1.mrc beside truth/, or Refine3D's in a project beside it; None: there is none."""
    beside = (truth.directory or Path()).resolve().parent
    own = beside / HALF_MAPS[1]
    if own.is_file():
        return own
    refined = sorted(beside.glob(f"project/Refine3D/*/{REFINE_HALF_MAP}"))
    return refined[0] if refined else None


def export(job: Path, *, particles: int) -> Path:
    """Let the drop-in executable export a job's latents and displacements into a folder of the job; returns it.

    Raises
    ------
    UserError
        The export failed; its own sentence is passed on.
    """
    folder = job / EXPORT_FOLDER
    command = [sys.executable, "-m", "relion_jobs.dropin", "dynamight", "export", str(job), "--output", str(folder)]
    done = subprocess.run([*command, "--particles", str(particles)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise UserError(f"The results of {job} could not be exported: {lines[-1] if lines else f'exit code {done.returncode}'}")
    return folder


def score_files(truth: Truth, result: Path, maps: Path, *, rigid: Path | None) -> Score:
    """Score all files that are there.

    Parameters
    ----------
    truth
        Known motion.
    result
        Folder with ``latent_half{h}.npy``, ``index_half{h}.npy``, ``points_half{h}.npy``, ``disp_half{h}.npy``,
        ``disp_index_half{h}.npy``, ``weights_half{h}.npy``.
    maps
        Folder with ``map_half{h}.mrc``.
    rigid
        First rigid half map, or None.

    Raises
    ------
    UserError
        A file is damaged, or its shape or particles do not fit the others.
    """
    deformation, latents, compared = {}, {}, {}
    for half in (1, 2):
        if (result / f"latent_half{half}.npy").is_file():
            index = _rows(truth, result / f"index_half{half}.npy")
            values = _array(result / f"latent_half{half}.npy", (len(index), None))
            latents[half] = score_latents(truth, values, index)
        if (result / f"disp_half{half}.npy").is_file():
            index = _rows(truth, result / f"disp_index_half{half}.npy")
            points = _array(result / f"points_half{half}.npy", (None, 3))
            moved = _array(result / f"disp_half{half}.npy", (len(index), len(points), 3))
            weights_path = result / f"weights_half{half}.npy"
            weights = _array(weights_path, (len(points),)) if weights_path.is_file() else None
            deformation[half] = score_deformation(truth, points, moved, index, weights)
    pairs = {"rigid": rigid, "oracle": (truth.directory or Path()) / "oracle_half1.mrc", "result": maps / "map_half1.mrc"}
    for name, first in pairs.items():
        if first is not None and first.is_file():
            compared[name] = _score_pair(truth, first)
    return Score(deformation, latents, compared)


def _score_pair(truth: Truth, first: Path) -> MapAgreement:
    volumes = []
    for path in (first, first.with_name(first.name.replace("half1", "half2"))):
        volume = read_volume(path)
        check_map(volume, truth.renderer.box, truth.renderer.pixel_size_angstroms, f"The map {path}")
        volumes.append(volume.data)
    return score_maps(truth, *volumes)


def _rows(truth: Truth, path: Path) -> NDArray[np.int64]:
    rows = _array(path, (None,)).astype(np.int64)
    if len(rows) == 0 or rows.min() < 0 or rows.max() >= len(truth.coordinates):
        found = f"rows {rows.min()}..{rows.max()}" if len(rows) else "no rows"
        raise UserError(
            f"{path} holds {found}, but the truth knows {len(truth.coordinates)} particles; "
            "the result is of another particle set."
        )
    return rows


def _array(path: Path, shape: tuple[int | None, ...]) -> NDArray[Any]:
    """Read an array and check its shape; None stands for any length."""
    try:
        array: NDArray[Any] = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise UserError(f"{path} cannot be read as an array ({error}); export the result again.") from error
    fits = array.ndim == len(shape) and all(n in (None, m) for n, m in zip(shape, array.shape, strict=True))
    if not fits:
        expected = " x ".join("any" if n is None else str(n) for n in shape)
        raise UserError(f"{path} has shape {' x '.join(map(str, array.shape))}, expected {expected}; export the result again.")
    return array


def as_record(score: Score) -> dict[str, Any]:
    """Give the score as dictionaries for JSON, e.g. deformation.half1.moving.explained, maps.result.best_moving.auc."""
    record = {
        "deformation": {f"half{half}": asdict(value) for half, value in score.deformation.items()},
        "latents": {f"half{half}": asdict(value) for half, value in score.latents.items()},
        "maps": {name: asdict(value) for name, value in score.maps.items()},
    }
    # NaN is no JSON: a measure without meaning, such as the gain of what does not move, is null
    return {key: _without_nan(value) for key, value in record.items()}


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(inner) for key, inner in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
