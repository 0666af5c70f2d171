"""The command ``relion_jobs score``: a DynaMight job, or exported files, against the known motion of a simulated set."""

from __future__ import annotations

import argparse
import json
import math
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobtypes.common.volumes import check_map, read_volume
from jobtypes.common.whole_files import written_whole
from jobtypes.simulate.latent_measures import Latents, score_latents
from jobtypes.simulate.map_measures import MapAgreement, score_maps
from jobtypes.simulate.motion_measures import DeformationAgreement, score_deformation
from jobtypes.simulate.occupancy_measures import OccupancyAgreement, score_occupancy
from jobtypes.simulate.quality_measures import QualityAgreement, score_quality
from jobtypes.simulate.results import QUALITY_COLUMN, export, find_rigid, find_truth, read_array, read_judgements, read_rows
from jobtypes.simulate.sentences import judged_words, occupancy_words, quality_table, quality_words, table, words
from jobtypes.simulate.truth import Truth, read_truth
from relion_jobs.contract.errors import RelionJobsError, UserError

RECONSTRUCTION = Path("backprojection")


@dataclass(frozen=True)
class Score:
    """All that could be compared; keys of `deformation` and `latents` are halves, of `maps` rigid, oracle and result.

    `quality` and `occupancy` are None where the result gives none.
    """

    deformation: dict[int, DeformationAgreement]
    latents: dict[int, Latents]
    maps: dict[str, MapAgreement]
    quality: QualityAgreement | None = None
    occupancy: OccupancyAgreement | None = None

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
        if judgements := read_judgements(Path(arguments.job), truth) if arguments.job else None:
            score = _with_judgements(score, truth, result, *judgements)
        record = {"truth": str(truth.directory), "result": str(result), **as_record(score)}
        if arguments.json:
            with written_whole(arguments.json) as temporary:
                temporary.write_text(json.dumps(record, indent=1) + "\n")
    except RelionJobsError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(text(truth, score))
    if arguments.at_least is not None and not score.explained >= arguments.at_least:
        sys.stderr.write(f"Explained motion is {score.explained:.3f}, below the {arguments.at_least:g} asked for.\n")
        return 1
    return 0


def text(truth: Truth, score: Score) -> str:
    """Give the score as a table and in words."""
    parts = [table(score.deformation, score.latents, score.maps)]
    if score.quality:
        parts.append(quality_table(score.quality))
    said = [words(score.deformation, score.latents, score.maps)]
    if score.quality:
        said.append(quality_words(score.quality))
    if score.occupancy:
        said.append(occupancy_words(score.occupancy))
    if not truth.is_judged.all():
        said.append(judged_words(truth))
    return "\n\n".join([*parts, "\n".join(said)]) + "\n"


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
        "--particles", type=int, help="particles per half whose displacements are exported (default: 500, or all of fewer)"
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
            index = read_rows(truth, result / f"index_half{half}.npy")
            values = read_array(result / f"latent_half{half}.npy", (len(index), None))
            judged = _judged(truth, index)
            latents[half] = score_latents(truth, values[judged], index[judged])
        if (result / f"disp_half{half}.npy").is_file():
            index = read_rows(truth, result / f"disp_index_half{half}.npy")
            points = read_array(result / f"points_half{half}.npy", (None, 3))
            moved = read_array(result / f"disp_half{half}.npy", (len(index), len(points), 3))
            weights_path = result / f"weights_half{half}.npy"
            weights = read_array(weights_path, (len(points),)) if weights_path.is_file() else None
            judged = _judged(truth, index)
            deformation[half] = score_deformation(truth, points, moved[judged], index[judged], weights)
    pairs = {"rigid": rigid, "oracle": (truth.directory or Path()) / "oracle_half1.mrc", "result": maps / "map_half1.mrc"}
    for name, first in pairs.items():
        if first is not None and first.is_file():
            compared[name] = _score_pair(truth, first)
    return Score(deformation, latents, compared)


def _with_judgements(
    score: Score, truth: Truth, result: Path, rows: NDArray[np.int64], columns: dict[str, NDArray[np.float64]]
) -> Score:
    """Add what a job says of each particle: quality and occupancies (n,) of particles (n,)."""
    quality = score_quality(truth, columns.pop(QUALITY_COLUMN), rows)
    latents = {}
    for half in score.latents:
        index = read_rows(truth, result / f"index_half{half}.npy")
        latents[half] = read_array(result / f"latent_half{half}.npy", (len(index), None)), index
    return replace(score, quality=quality, occupancy=score_occupancy(truth, columns, rows, latents))


def _judged(truth: Truth, index: NDArray[np.int64]) -> NDArray[np.int64]:
    """Tell which of the particles in `index` can be judged: an index into it."""
    judged = np.flatnonzero(truth.is_judged[index])
    if len(judged) == 0:
        raise UserError(
            f"None of the {len(index)} particles of the result is good, whole and at its pose, so none can be judged; "
            f"give more of them with --particles."
        )
    return judged


def _score_pair(truth: Truth, first: Path) -> MapAgreement:
    volumes = []
    for path in (first, first.with_name(first.name.replace("half1", "half2"))):
        volume = read_volume(path)
        check_map(volume, truth.renderer.box, truth.renderer.pixel_size_angstroms, f"The map {path}")
        volumes.append(volume.data)
    return score_maps(truth, *volumes)


def as_record(score: Score) -> dict[str, Any]:
    """Give the score as dictionaries for JSON, e.g. deformation.half1.moving.explained, maps.result.best_moving.auc."""
    record = {
        "deformation": {f"half{half}": asdict(value) for half, value in score.deformation.items()},
        "latents": {f"half{half}": asdict(value) for half, value in score.latents.items()},
        "maps": {name: asdict(value) for name, value in score.maps.items()},
    }
    if score.quality:
        record["quality"] = asdict(score.quality)
    if score.occupancy:
        record["occupancy"] = asdict(score.occupancy)
    # NaN is no JSON: a measure without meaning, such as the gain of what does not move, is null
    return {key: _without_nan(value) for key, value in record.items()}


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(inner) for key, inner in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
