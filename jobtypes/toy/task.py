"""The work of the toy job: counts rows, keeps its state on disk, stops when asked, goes on where it stopped."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path

from relion_jobs.contract.errors import UserError
from relion_jobs.contract.options import Value, typed
from relion_jobs.contract.running_job import RunningJob


def check(values: Mapping[str, Value], job_directory: Path) -> list[str]:
    """Say what the job would do; UserError where the file holds no particles."""
    rows = _particle_rows(Path(typed(values, "fn_in", str)))
    return [f"Count the {len(rows)} particles of {values['fn_in']} into {job_directory / 'count.txt'}."]


def count(values: Mapping[str, Value], job: RunningJob) -> None:
    """Count the particles; after an abort, go on at the row where it stopped."""
    rows = _particle_rows(Path(typed(values, "fn_in", str)))
    state = job.project / job.directory / "state.json"
    done = json.loads(state.read_text())["rows"] if job.is_continue and state.exists() else 0
    job.report(f"Counting {len(rows)} particles from row {done}.")
    pace = float(values["rows_per_second"] or 0)
    while done < len(rows):
        if job.abort_requested():
            _write(state, json.dumps({"rows": done}))
            job.check_abort()
        done += 1
        job.progress("counting", done, len(rows), "rows")
        if pace:
            time.sleep(1 / pace)
    _write(state, json.dumps({"rows": done}))
    _write(job.project / job.directory / "count.txt", f"{done}\n")


def report(values: Mapping[str, Value], job: RunningJob) -> None:
    """Write an earlier count as a sentence and register the file."""
    directory = job.project / job.directory
    if not (directory / "count.txt").exists():
        raise UserError(f"{job.directory}/count.txt does not exist; let the job count first.")
    path = directory / "report.txt"
    _write(path, f"There are {(directory / 'count.txt').read_text().strip()} {values['report_word']}.\n")
    job.add_output(path, "LogFile.txt.toy")


def _particle_rows(path: Path) -> list[str]:
    """Rows of the last loop of a STAR file."""
    lines = [line.strip() for line in path.read_text().splitlines()]
    starts = [index for index, line in enumerate(lines) if line == "loop_"]
    rows = [line for line in lines[starts[-1] + 1 :] if line and line[0] not in "_#"] if starts else []
    if not rows:
        raise UserError(f"{path} holds no table of particles (loop_); give a particle STAR file.")
    return rows


def _write(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    beside = path.with_suffix(".new")
    beside.write_text(text)
    os.replace(beside, path)
