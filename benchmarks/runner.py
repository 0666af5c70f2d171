"""Time of the runner: its start, the status of a project with many jobs, a new job in it. The anchor is Python's own start."""

from __future__ import annotations

import argparse
import subprocess
import sys
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from measuring import best_of, print_table

from relion_jobs.contract.labels import Status
from relion_jobs.contract.nodes import PARTICLES, Node
from relion_jobs.ondisk.pipeline_star import write
from relion_jobs.ondisk.project import create
from relion_jobs.pipeline.graph import Pipeline, Process


def parse() -> argparse.Namespace:
    """Words of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1000, help="jobs of the project")
    parser.add_argument("--repeats", type=int, default=5, help="calls of each, of which the fastest counts")
    return parser.parse_args()


def main() -> None:
    """Measure and print."""
    words = parse()
    jobs = words.jobs
    with TemporaryDirectory() as folder:
        project = make_project(Path(folder) / "project", jobs)
        runner = [sys.executable, "-m", "relion_jobs"]
        calls = {
            "python, nothing imported": [sys.executable, "-c", ""],
            "relion_jobs --version": [*runner, "--version"],
            "relion_jobs types": [*runner, "types"],
            f"relion_jobs status, {jobs} jobs": [*runner, "status"],
            f"relion_jobs status JOB_DIR, {jobs} jobs": [*runner, "status", f"External/job{jobs:03d}"],
            f"relion_jobs new simulate, {jobs} jobs": [*runner, "new", "simulate"],
        }
        seconds = {
            name: best_of(words.repeats, partial(subprocess.run, call, cwd=project, check=True, capture_output=True))
            for name, call in calls.items()
        }
    anchor = seconds["python, nothing imported"]
    print(f"Best of {words.repeats}:\n")
    print_table(["", "ms", "ratio"], [[name, f"{1000 * took:.0f}", f"{took / anchor:.1f}"] for name, took in seconds.items()])


def make_project(path: Path, jobs: int) -> Path:
    """Make a project with a chain of jobs that have ended, each reading the output of the one before."""
    project = create(path)
    names = [f"External/job{number:03d}/" for number in range(1, jobs + 1)]
    files = [f"{name}particles.star" for name in names]
    for name in names:
        (project / name).mkdir(parents=True)
    pipeline = Pipeline(
        counter=jobs + 1,
        processes=tuple(Process(name, None, "relion.external.toy", Status.SUCCEEDED) for name in names),
        nodes=tuple(Node(file, PARTICLES) for file in files),
        input_edges=tuple(zip(files[:-1], names[1:], strict=True)),
        output_edges=tuple(zip(names, files, strict=True)),
    )
    write(pipeline, project / "default_pipeline.star")
    return project


if __name__ == "__main__":
    main()
