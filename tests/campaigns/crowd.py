"""Many processes add and finish jobs in one project at once, half of them in the way of a program that is not ours.

The foreign half knows RELION's lock and nothing of this package: it makes the directory, looks again every few seconds where it
is taken, and writes the pipeline in place.
"""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from relion_jobs.contract.errors import UserError
from relion_jobs.contract.labels import Status
from relion_jobs.contract.nodes import Node
from relion_jobs.ondisk import pipeline_star
from relion_jobs.ondisk.project import create, read_pipeline
from relion_jobs.pipeline.graph import Pipeline, Process, add_process

SEED_JOB = "Import/job001/"
SPANS = "lock_spans"


@dataclass(frozen=True)
class CrowdFigures:
    """What a crowd did.

    Attributes
    ----------
    jobs, seconds
        Jobs that were added and finished, and how long it took.
    reads
        How often a reader read the pipeline meanwhile; it never failed and never saw a row vanish.
    held_seconds
        Longest time for which one of ours held the lock.
    free_over_held
        Smallest ratio of the time that the lock was left free by ours to the time that it had been held before.
    """

    jobs: int
    seconds: float
    reads: int
    held_seconds: float
    free_over_held: float


def run_crowd(folder: Path, *, processes: int, jobs_each: int, foreign_poll_seconds: float) -> CrowdFigures:
    """Let the crowd work in a new project and check what it left.

    Parameters
    ----------
    folder
        Where the project is made.
    processes
        How many there are; every other one is foreign.
    jobs_each
        Jobs that each adds and finishes.
    foreign_poll_seconds
        How long a foreign one waits before it looks at a taken lock again; RELION waits 3 s. It gives up after 63 s.

    Raises
    ------
    AssertionError
        Something was lost.
    """
    project = create(folder / "project")
    (project / SPANS).mkdir()
    seed = Process(SEED_JOB, None, "relion.import", Status.SUCCEEDED)
    # the foreign ones add rows to tables that are there
    pipeline_star.write(
        add_process(Pipeline(), seed, [Node("movies.star", "MicrographMovieGroupMetadata.star")]),
        project / "default_pipeline.star",
    )
    begin = time.monotonic()
    members = [_start(project, number, jobs_each, foreign_poll_seconds) for number in range(processes)]
    reads = _read_until_all_ended(project, members)
    seconds = time.monotonic() - begin
    for member in members:
        out, _ = member.communicate()
        assert member.returncode == 0, out
    _check(project, processes * jobs_each)
    held, ratio = _spans(project)
    return CrowdFigures(processes * jobs_each, seconds, reads, held, ratio)


def _start(project: Path, number: int, jobs_each: int, foreign_poll_seconds: float) -> subprocess.Popen[str]:
    kind = "foreign_member" if number % 2 else "own_member"
    words = [str(project), str(number), str(jobs_each), str(foreign_poll_seconds)]
    return subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name(f"{kind}.py")), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _read_until_all_ended(project: Path, members: list[subprocess.Popen[str]]) -> int:
    reads, seen = 0, {SEED_JOB}
    while any(member.poll() is None for member in members):
        try:
            names = {process.name for process in read_pipeline(project).processes}
        except UserError as error:
            raise AssertionError(f"read {reads}: {error}") from error
        assert seen <= names, f"read {reads} does not show {sorted(seen - names)}, which were there before"
        reads, seen = reads + 1, names
        time.sleep(0.02)
    return reads


def _check(project: Path, jobs: int) -> None:
    pipeline = read_pipeline(project)
    names = [process.name for process in pipeline.processes]
    numbers = sorted(process.number for process in pipeline.processes)
    assert numbers == list(range(1, jobs + 2)), "a number was given twice or lost"
    assert pipeline.counter == jobs + 2
    assert {process.status for process in pipeline.processes} == {Status.SUCCEEDED}
    claims = [len(list((project / name).glob("claimed_by_*"))) for name in names[1:]]
    assert claims == [1] * jobs, "two processes took the same directory"
    assert not (project / ".relion_lock").exists()
    assert not list(project.glob(".*.part"))


def _spans(project: Path) -> tuple[float, float]:
    """Longest time that ours held the lock; smallest ratio of the free time behind a span of ours to the span, before ours."""
    spans = []
    for file in (project / SPANS).iterdir():
        spans += [tuple(map(float, line.split())) for line in file.read_text().splitlines()]
    spans.sort()
    held = [end - start for start, end in spans]
    ratios = [(start - end) / (end - begin) for (begin, end), (start, _) in pairwise(spans) if end > begin]
    return max(held), min(ratios)
