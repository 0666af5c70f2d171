"""Files of a result: found, exported, read and checked."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobtypes.common.star_tables import read_tables
from jobtypes.common.tilt_stacks import find_files
from jobtypes.simulate.job import HALF_MAPS
from jobtypes.simulate.truth import FOLDER, Truth
from relion_jobs.contract.errors import UserError
from relion_jobs.contract.labels import JOB_STAR

EXPORT_FOLDER = "score"
REFINE_HALF_MAP = "run_half1_class001_unfil.mrc"
JUDGED_PARTICLES = Path("forward_deformations") / "particles.star"
QUALITY_COLUMN, OCCUPANCY_COLUMN = "rlnDynamightQuality", "rlnDynamightOccupancy"  # the latter with a number behind it


def find_star(job: Path) -> Path:
    """Find the particle STAR file that a job used, by itself or through an optimisation set of tilt series.

    Raises
    ------
    UserError
        No such job, or no such file.
    """
    path = job / JOB_STAR
    if not path.is_file():
        raise UserError(f"{job} is no job directory (it holds no {JOB_STAR}); give one such as DynaMight/job002.")
    rows = (line.split() for line in path.read_text().splitlines())
    star = next((row[1].strip("\"'") for row in rows if len(row) == 2 and row[0] == "fn_star"), "")
    if not star:
        raise UserError(f"{path} names no particle STAR file (fn_star); give --data and --result instead of the job.")
    project = next((folder for folder in job.resolve().parents if (folder / star).is_file()), None)
    if project is None:
        raise UserError(
            f"The particle STAR file {star} that {path} names does not exist; put it back, or "
            "give --data and --result instead of the job."
        )
    return find_files(project / star, project).particles


def find_truth(job: Path) -> Path:
    """Find the folder truth/ of the particles that a job used: beside its particle STAR file, or in a folder above.

    Raises
    ------
    UserError
        No such job, or its particles have no known motion.
    """
    star = find_star(job)
    for folder in star.resolve().parents:
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


def export(job: Path, *, particles: int | None) -> Path:
    """Let the drop-in executable export a job's latents and displacements into a folder of the job; returns it.

    Displacements are those of so many particles per half; None: as many as an export takes by itself.

    Raises
    ------
    UserError
        The export failed; its own sentence is passed on.
    """
    folder = job / EXPORT_FOLDER
    command = [sys.executable, "-m", "relion_jobs.dropin", "dynamight", "export", str(job), "--output", str(folder)]
    if particles is not None:
        command += ["--particles", str(particles)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise UserError(f"The results of {job} could not be exported: {lines[-1] if lines else f'exit code {done.returncode}'}")
    return folder


def read_judgements(job: Path, truth: Truth) -> tuple[NDArray[np.int64], dict[str, NDArray[np.float64]]] | None:
    """Read the quality and the occupancies that a job gave its particles.

    Returns
    -------
    tuple or None
        Rows (n,) in the particle STAR file that the job used; and values (n,) in 0..1 of each such column. None: the job gave no
        quality.

    Raises
    ------
    UserError
        A value is not between 0 and 1, or a particle is not one that the job used or that the truth knows.
    """
    path = job / JUDGED_PARTICLES
    table = read_tables(path).get("particles") if path.is_file() else None
    if table is None or QUALITY_COLUMN not in table.columns:
        return None
    names = (QUALITY_COLUMN, *(name for name in table.columns if name.startswith(OCCUPANCY_COLUMN)))
    values = table.read(numbers=names, texts=("rlnImageName",))
    for name in names:
        bad = np.flatnonzero((values[name] < 0) | (values[name] > 1))
        if len(bad):
            raise UserError(f"{path}: column _{name} is {values[name][bad[0]]:g} in {table.where(int(bad[0]))}; expected 0 to 1.")
    star = find_star(job)
    row_of = {name: row for row, name in enumerate(read_tables(star)["particles"].read(texts=("rlnImageName",))["rlnImageName"])}
    rows = np.array([row_of.get(name, -1) for name in values["rlnImageName"]], dtype=np.int64)
    lost = np.flatnonzero((rows < 0) | (rows >= len(truth.half)))
    if len(lost):
        raise UserError(
            f"{path}: {values['rlnImageName'][lost[0]]} in {table.where(int(lost[0]))} is not among the first {len(truth.half)} "
            f"particles of {star}; the result is of another particle set."
        )
    return rows, {name: values[name] for name in names}


def read_rows(truth: Truth, path: Path) -> NDArray[np.int64]:
    """Read rows of the particle STAR file, and refuse those that the truth does not know."""
    rows = read_array(path, (None,)).astype(np.int64)
    if len(rows) == 0 or rows.min() < 0 or rows.max() >= len(truth.coordinates):
        found = f"rows {rows.min()}..{rows.max()}" if len(rows) else "no rows"
        raise UserError(
            f"{path} holds {found}, but the truth knows {len(truth.coordinates)} particles; "
            "the result is of another particle set."
        )
    return rows


def read_array(path: Path, shape: tuple[int | None, ...]) -> NDArray[Any]:
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
