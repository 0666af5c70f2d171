"""SIGKILL at the moments of new, run, continue and a write of the pipeline; then the next commands must find all in order."""

from __future__ import annotations

import os
import random
import shutil
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from relion_jobs import cli
from relion_jobs.contract.labels import Status
from relion_jobs.ondisk import pipeline_star
from relion_jobs.ondisk.job_directory import JobDirectory
from relion_jobs.ondisk.project import create, edit_pipeline, read_pipeline
from relion_jobs.pipeline.graph import with_alias
from relion_jobs.running.submit import WORKER
from tests.campaigns.in_worker.kill_at import kill_at, killed_mark

IN_WORKER = Path(__file__).with_name("in_worker")
DONE, SCHEDULED, COUNTED = "External/job001/", "External/job002/", "External/job003/"
RESULTS = (f"{DONE}count.txt", f"{DONE}report.txt", f"{COUNTED}count.txt")
# command, and the job that it is about
COMMANDS = {
    "new": (["new", "toy", "-o", "fn_in=parts.star", "--alias", "another_run"], ""),
    "run": (["run", SCHEDULED], SCHEDULED),
    "continue": (["continue", COUNTED, "-o", "do_report=Yes"], COUNTED),
    "write": ([], ""),
}
# of each command, whom to kill
VICTIMS = (
    ("new", "command"),
    ("run", "command"),
    ("run", "worker"),
    ("continue", "command"),
    ("continue", "worker"),
    ("write", "command"),
)
# more than the busiest of the victims makes; who makes fewer changes than its number survives
MOST_CHANGES = 120


@dataclass(frozen=True)
class KillFigures:
    """What came of the kills.

    Attributes
    ----------
    kills
        Processes that were killed while they worked, by command and victim.
    recoveries
        What the next commands said that they did about it, by the kind of sentence.
    seconds
        Longest time that the first command after a kill took.
    """

    kills: dict[str, int]
    recoveries: dict[str, int]
    seconds: float


def run_kills(folder: Path, *, count: int, seed: int = 0) -> KillFigures:
    """Kill `count` times, each time in a fresh copy of one project, and check what is left.

    Raises
    ------
    AssertionError
        A project could not be read, a result was gone, or the next commands did not work; the message says after which kill.
    """
    original = make_project(folder / "original")
    numbers = random.Random(seed)
    kills: Counter[str] = Counter()
    recoveries: Counter[str] = Counter()
    slowest = 0.0
    moments = {victim: numbers.sample(range(1, MOST_CHANGES + 1), MOST_CHANGES) for victim in VICTIMS}
    while kills.total() < count and any(moments.values()):
        victim = max(moments, key=lambda one: (bool(moments[one]), -kills[" ".join(one)]))
        number = moments[victim].pop()
        project = folder / "copy"
        shutil.rmtree(project, ignore_errors=True)
        shutil.copytree(original, project, symlinks=True)
        if not kill(project, *victim, number):
            # it makes fewer changes than that
            moments[victim] = [earlier for earlier in moments[victim] if earlier < number]
            continue
        kills[" ".join(victim)] += 1
        try:
            said, seconds = check_recovery(project, COMMANDS[victim[0]][1])
        except AssertionError as error:
            raise AssertionError(f"after {victim} was killed at change {number}: {error}") from error
        recoveries.update(said)
        slowest = max(slowest, seconds)
    return KillFigures(dict(kills), dict(recoveries), slowest)


def make_project(path: Path) -> Path:
    """Make a project with a job that has done all its tasks, one that is scheduled and one that may be continued."""
    project = create(path)
    rows = "".join(f"{index}@stack.mrcs\n" for index in range(1, 21))
    (project / "parts.star").write_text(f"\ndata_particles\n\nloop_\n_rlnImageName #1\n{rows}\n")
    for words in (
        *[["new", "toy", "-o", "fn_in=parts.star"]] * 3,
        ["run", DONE],
        ["continue", DONE, "-o", "do_report=Yes"],
        ["run", COUNTED],
    ):
        code, said = call(project, words)
        assert code == 0, said
    return project


def kill(project: Path, command: str, victim: str, number: int) -> bool:
    """Run a command whose victim ends at its change `number`; False if it made fewer. Returns when nothing runs any more."""
    words, _ = COMMANDS[command]
    Path(killed_mark(str(project))).unlink(missing_ok=True)
    environment = {}
    if victim == "worker":
        environment = {"PYTHONPATH": str(IN_WORKER), "KILL_WORKER_AT": str(number), "KILL_WORKER_BELOW": str(project)}
    child = os.fork()
    if child == 0:
        _silence(project.parent / "said")
        os.environ.update(environment)
        os.chdir(project)
        if victim == "command":
            kill_at(number, str(project))
        os._exit(cli.main(words) if words else _write(project))
    os.waitpid(child, 0)
    _wait_for_workers(project)
    return os.path.exists(killed_mark(str(project)))


def call(project: Path, words: list[str]) -> tuple[int, str]:
    """Run a command in the project, in a process of its own; returns its exit code and what it said."""
    log = project.parent / "said"
    child = os.fork()
    if child == 0:
        _silence(log)
        os.chdir(project)
        os._exit(cli.main(words))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), log.read_text()


def check_recovery(project: Path, job: str) -> tuple[list[str], float]:
    """Check that nothing is lost and the next commands work; returns what they said of the kill, and the time of the first."""
    before = read_pipeline(project)
    for name in (DONE, SCHEDULED, COUNTED):
        assert before.find(name) is not None, f"{name} is gone"
    assert before.process(DONE).status == Status.SUCCEEDED
    for name in RESULTS:
        assert (project / name).read_text().strip(), f"{name} is gone"
    assert DONE + "report.txt" in {node.path for node in before.outputs_of(DONE)}
    expected = traces(project)
    begin = time.monotonic()
    code, said = call(project, ["status"])
    seconds = time.monotonic() - begin
    assert code == 0, said
    code, more = call(project, ["new", "toy", "-o", "fn_in=parts.star"])
    assert code == 0, more
    said += more
    if job:
        words = ["run", job] if job == SCHEDULED else ["continue", job, "-o", "do_report=Yes"]
        code, more = call(project, words)
        assert code == 0, more
        said += more
    for words in expected:
        assert words in said, f"nothing was said of it: expected '{words}' in {said}"
    after = read_pipeline(project)
    names = [process.name for process in after.processes]
    assert len(set(names)) == len(names)
    assert Status.RUNNING not in {process.status for process in after.processes}
    assert not job or after.process(job).status == Status.SUCCEEDED
    assert not (project / ".relion_lock").exists()
    assert not list(project.glob(".*.part")), "unfinished files stay"
    return expected, seconds


def traces(project: Path) -> list[str]:
    """What the next commands must say about what a kill left."""
    pipeline = pipeline_star.read(project / "default_pipeline.star")
    expected = []
    if (project / ".relion_lock").exists():
        expected.append("Removed the lock")
    for process in pipeline.processes:
        directory = JobDirectory(project, process.name)
        if process.status == Status.RUNNING and directory.status_from_marks() is None:
            expected.append("is gone and left no mark")
    if list((project / pipeline.next_job_directory("External")).glob("*")):
        expected.append("though the pipeline does not list it")
    return expected


def _write(project: Path) -> int:
    with edit_pipeline(project, "alias") as edit:
        edit.pipeline = with_alias(edit.pipeline, SCHEDULED, "another_name")
    return 0


def _silence(log: Path) -> None:
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)


def _wait_for_workers(project: Path) -> None:
    """Wait until no process of a job of the project is left; one may outlive the command that started it."""
    deadline = time.monotonic() + 60
    while any(_is_worker(process, project) for process in Path("/proc").glob("[0-9]*")):
        assert time.monotonic() < deadline, "a worker does not end"
        time.sleep(0.02)


def _is_worker(process: Path, project: Path) -> bool:
    try:
        return WORKER.encode() in (process / "cmdline").read_bytes() and os.readlink(process / "cwd") == str(project)
    except OSError:
        return False
