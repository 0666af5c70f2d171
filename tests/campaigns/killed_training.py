"""A forward training that is killed again and again and continued each time ends with the bytes of one that was left alone.

Some kills come after a random amount of work, from outside; others between the changes that a checkpoint write makes to the
disk; the last ones in the last stage, of which a checkpoint is written after every batch then. Torch is loaded once: the runs
are forks of this process, each with one thread.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from jobtypes.dynamight.forward_deformations import rounds, task
from jobtypes.dynamight.forward_deformations.checkpointing import load_last
from jobtypes.dynamight.forward_deformations.posteriors import POSTERIORS
from jobtypes.dynamight.forward_deformations.training import HalfTraining
from jobtypes.dynamight.model.half_model import Posterior
from jobtypes.dynamight.model.result import LATENT_BY_OTHER
from relion_jobs.ondisk.job_directory import JobDirectory
from relion_jobs.ondisk.project import create
from relion_jobs.running.launch import new_job, prepare_continue, prepare_run
from relion_jobs.running.registry import project_registry
from relion_jobs.running.settings import new_texts, with_changes
from relion_jobs.running.worker import run_job
from tests.campaigns.in_worker.kill_at import watch
from tests.unit.jobtypes.dynamight.forward_deformations.conftest import make_project

JOB = "DynaMight/job001/"
CHECKPOINTS = f"{JOB}forward_deformations/checkpoints"
FLAGS = "--training-batch-size 5 --soft-edge-width 12 --n-basis-fields 4 --n-latent-dimensions 2"
# moments of a checkpoint write: the file is there and empty; it is written and not yet in its place
EMPTY, WRITTEN = "open", "os.rename"


@dataclass(frozen=True)
class TrainingFigures:
    """What came of the killed training.

    Attributes
    ----------
    kills, inside_a_write
        How often it was killed, and how often in the midst of writing a checkpoint.
    in_last_stage
        How often of these in the last stage.
    epochs
        Of the training.
    seconds, undisturbed_seconds
        How long it took with and without kills.
    same_file
        Whether even the files of the last checkpoints are the same, not only their parameters.
    """

    kills: int
    inside_a_write: int
    in_last_stage: int
    epochs: int
    seconds: float
    undisturbed_seconds: float
    same_file: bool


def run_killed_training(
    folder: Path, *, kills: int, inside: int, in_last_stage: int, epochs: int, seed: int = 0
) -> TrainingFigures:
    """Train undisturbed, then train with kills, and compare.

    Parameters
    ----------
    folder
        Where the projects are made.
    kills, inside, in_last_stage
        How often to kill, and how often of these in the midst of a checkpoint write, and in the last stage.
    epochs
        Of the training; enough that it is not done before the last kill.
    seed
        Of the moments.

    Raises
    ------
    AssertionError
        The parameters differ, or a continued run did not go on.
    """
    torch.set_num_threads(1)
    undisturbed = _project(folder / "undisturbed", epochs)
    begin = time.monotonic()
    first, last = _watch_work(undisturbed, epochs)
    undisturbed_seconds = time.monotonic() - begin
    killed = _project(folder / "killed", epochs)
    begin = time.monotonic()
    numbers = random.Random(seed)
    found = _kill_often(killed, numbers, kills=kills - in_last_stage, inside=inside, epoch=(last - first) / epochs)
    _kill_in_last_stage(killed, numbers, in_last_stage)
    assert _wait(_start(killed)) == 0, (killed / JOB / "run.err").read_text()
    seconds = time.monotonic() - begin
    one, other = _parameters(undisturbed), _parameters(killed)
    assert one == other, "the parameters differ from those of the training that was left alone"
    files = [(project / CHECKPOINTS / "checkpoint_final.pth").read_bytes() for project in (undisturbed, killed)]
    return TrainingFigures(kills, found, in_last_stage, epochs, seconds, undisturbed_seconds, files[0] == files[1])


def _watch_work(project: Path, epochs: int) -> tuple[float, float]:
    """Train; returns the processor time in s until the first checkpoint and until that of the last epoch."""
    child, first, last = _start(project), 0.0, 0.0
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        names = _checkpoints(project)
        first = first or (_work(child) if names else 0.0)
        last = last or (min(_work(child), 1e9) if {f"{epochs:03d}.pth", "checkpoint_final.pth"} & names else 0.0)
        time.sleep(0.01)
    assert first, (project / JOB / "run.err").read_text()
    assert last, (project / JOB / "run.err").read_text()
    return first, last


def _checkpoints(project: Path) -> set[str]:
    return {path.name for path in (project / CHECKPOINTS).glob("*.pth")}


def _work(child: int) -> float:
    """Processor time of a process so far, in s; infinite where it has ended."""
    words = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
    if words[0] == "Z":
        return float("inf")
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def _kill_often(project: Path, numbers: random.Random, *, kills: int, inside: int, epoch: float) -> int:
    """Start and kill; returns how often a checkpoint was being written when it happened. An epoch takes so many seconds."""
    found = 0
    plans = ["inside"] * inside + ["outside"] * (kills - inside)
    numbers.shuffle(plans)
    for plan in plans:
        if plan == "inside":
            child = _start(project, moment=numbers.choice((EMPTY, WRITTEN)), write=numbers.randint(1, 2))
        else:
            before, child = _checkpoints(project), _start(project)
            while _checkpoints(project) == before and _work(child) < float("inf"):
                time.sleep(0.005)
            work = _work(child) + numbers.uniform(0, epoch)
            while _work(child) < work:
                time.sleep(0.005)
            os.kill(child, signal.SIGKILL)
        # one that had ended before would tell its own exit code
        assert _wait(child) == -signal.SIGKILL, (project / JOB / "run.out").read_text()
        is_inside = bool(list((project / CHECKPOINTS).glob(".*.part")))
        assert is_inside or plan == "outside"
        found += is_inside
    return found


def _kill_in_last_stage(project: Path, numbers: random.Random, kills: int) -> None:
    """Start and kill in the last stage, each time some batches farther."""
    before = -1
    for _ in range(kills):
        assert _wait(_start(project, batches=numbers.randint(2, 3))) == -signal.SIGKILL, (project / JOB / "run.out").read_text()
        state = load_last(project / JOB)
        assert state is not None
        assert not state["finished"]
        stages = [part[POSTERIORS] for part in state["halves"].values()]
        done = sum(stage["encoded"] + stage["refined"] for stage in stages)
        assert done > before, "the last stage did not go on where it was"
        before = done


def _project(path: Path, epochs: int) -> Path:
    project = create(path)
    make_project(project)
    shutil.rmtree(project / JOB)
    job_type = project_registry(project).find("dynamight")
    changes = {"fn_star": "particles.star", "fn_map": "map.mrc", "nr_gaussians": "60", "other_args": FLAGS}
    changes["n_training_epochs"] = str(epochs)
    new_job(project, job_type, with_changes(job_type, new_texts(job_type), changes))
    return project


def _start(project: Path, *, moment: str = "", write: int = 0, batches: int = 0) -> int:
    """Run the job of the project, or continue it, in a fork that may kill itself, see below; returns its number."""
    child = os.fork()
    if child:
        return child
    os.chdir(project)
    for descriptor, name in ((1, "run.out"), (2, "run.err")):
        os.dup2(os.open(project / JOB / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND), descriptor)
    registry = project_registry(project)
    has_begun = any((project / CHECKPOINTS).glob("*.pth"))
    if has_begun:
        prepare_continue(project, JOB, registry, changes={})
    else:
        prepare_run(project, JOB, registry)
    if moment:
        _kill_in_write(project, moment, write)
    if batches:
        _kill_after_batches(batches)
    os._exit(run_job(JobDirectory(project, JOB)))


def _kill_in_write(project: Path, moment: str, write: int) -> None:
    """Arm this process: it ends at that moment of its checkpoint number `write`, counted from 1."""
    opened: list[object] = []

    def on_change(event: str, arguments: tuple[object, ...]) -> None:
        if event == "open" and str(arguments[0]).endswith(".part"):
            opened.append(arguments[0])
        # each is opened to make it, and then to fill it
        if event == moment and (len(opened) == 2 * write if event == EMPTY else len(set(opened)) == write):
            os.kill(os.getpid(), signal.SIGKILL)

    watch(str(project / CHECKPOINTS), on_change)


def _kill_after_batches(batches: int) -> None:
    """Arm this process: it ends after so many batches of the last stage, the half sets in turn, with a checkpoint after each."""
    done: list[Tensor] = []
    keep, work_out = HalfTraining.keep, task.work_out_posteriors

    def keep_and_die(training: HalfTraining, index: Tensor, posterior: Posterior) -> None:
        keep(training, index, posterior)
        done.append(index)
        if len(done) > batches:
            os.kill(os.getpid(), signal.SIGKILL)

    def arm(*words: Any, **settings: Any) -> None:
        rounds.MINUTES_BETWEEN_CHECKPOINTS = 0.0
        HalfTraining.keep = keep_and_die  # type: ignore[method-assign]
        work_out(*words, **settings)

    task.work_out_posteriors = arm


def _wait(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _parameters(project: Path) -> list[bytes]:
    """Every learned number of both half sets."""
    state = load_last(project / JOB)
    assert state is not None
    assert state["finished"]
    tensors = []
    for half in (1, 2):
        part = state["halves"][half]
        tensors += [*part["model"].values(), part["latent_mean"], part["latent_log_variance"], part[LATENT_BY_OTHER]]
    return [tensor.contiguous().numpy().tobytes() for tensor in tensors]
