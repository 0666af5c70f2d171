"""Programs that change the pipeline, and so tidy up behind dead writers, beside one that writes files outside the project's lock.

A schedule keeps its journal, one of ours adds and finishes jobs as the commands do, and a program that is not ours does so in
RELION's way. Nobody may lose the file that he is writing.
"""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from relion_jobs.contract.labels import Status
from relion_jobs.contract.nodes import Node
from relion_jobs.ondisk import pipeline_star
from relion_jobs.ondisk.project import create, read_pipeline
from relion_jobs.pipeline.graph import Pipeline, Process, add_process

HERE = Path(__file__).parent
FOREIGN_JOBS = 4  # that it adds and finishes while one of ours adds one

JOURNAL_WRITER = """
import sys
from pathlib import Path
from relion_jobs.ondisk.schedule_journal import Journal, write

project, count = Path(sys.argv[1]), 0
while not (project / "enough").exists():
    count += 1
    write(project, Journal("test", ("A/job001/",), round=count))
print(count)
"""


@dataclass(frozen=True)
class SweepFigures:
    """What was done beside each other.

    Attributes
    ----------
    seconds
        How long.
    journals
        Journals that were written as fast as one process can, besides those of the schedule.
    jobs, foreign_jobs
        Jobs that ``new`` added, and that the foreign program added and finished.
    ran
        Jobs that the schedule ran meanwhile.
    """

    seconds: float
    journals: int
    jobs: int
    foreign_jobs: int
    ran: int


def run_sweeps(folder: Path, *, seconds: float) -> SweepFigures:
    """Let all of them work in a new project and check that none of them failed.

    Raises
    ------
    AssertionError
        One of them failed, or left something behind.
    """
    project = create(folder / "project")
    (project / "parts.star").write_text("\ndata_particles\n\nloop_\n_rlnImageName #1\n1@a.mrcs\n2@a.mrcs\n")
    seed = Process("Import/job001/", None, "relion.import", Status.SUCCEEDED)
    # the foreign one adds rows to tables that are there
    pipeline_star.write(add_process(Pipeline(), seed, [Node("parts.star", "x.star")]), project / "default_pipeline.star")
    _call(project, "new", "toy", "-o", "fn_in=parts.star")
    begin = time.monotonic()
    schedule = _start(project, "-m", "relion_jobs", "schedule")
    journals = _start(project, "-c", JOURNAL_WRITER, str(project))
    jobs = foreign_jobs = 1
    while time.monotonic() - begin < seconds:
        foreign = _start(project, str(HERE / "foreign_member.py"), str(project), "1", str(FOREIGN_JOBS), "0.01")
        _call(project, "new", "toy", "-o", "fn_in=parts.star")
        _output(foreign)
        jobs, foreign_jobs = jobs + 1, foreign_jobs + FOREIGN_JOBS
    (project / "enough").touch()
    written, said = int(_output(journals)), _output(schedule)
    ran = said.count(" succeeded.")
    names = [process.name for process in read_pipeline(project).processes]
    assert len(names) == len(set(names)) == jobs + foreign_jobs
    left = {process.status for process in read_pipeline(project).processes} - {Status.SUCCEEDED}
    # the schedule ends where it is faster than those who add jobs
    assert ran, said
    assert left <= {Status.SCHEDULED}, said
    assert not list(project.glob(".*.part")), "unfinished files stay"
    return SweepFigures(time.monotonic() - begin, written, jobs, foreign_jobs - 1, ran)


def _start(project: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, *words], cwd=project, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def _output(process: subprocess.Popen[str]) -> str:
    out, _ = process.communicate()
    assert process.returncode == 0, out
    return out


def _call(project: Path, *words: str) -> None:
    _output(_start(project, "-m", "relion_jobs", *words))
