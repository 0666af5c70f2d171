"""What many tests need: one thread for torch, a project, the command line, a job type that misbehaves, a job without a runner."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

# a shell that starts the tests in the background lets them, and every program that they start, ignore Ctrl-C
signal.signal(signal.SIGINT, signal.default_int_handler)

try:
    import torch
except ImportError:
    pass
else:
    torch.set_num_threads(1)

PARTICLES = "\ndata_particles\n\nloop_\n_rlnImageName #1\n" + "".join(f"{index}@stack.mrcs\n" for index in range(1, 21)) + "\n"

TROUBLE_YAML = """
- {variable: mood, label: "Mood:", tab: I/O, kind: text, default: "good", flag: --mood, help: "What to do."}
- {variable: fn_checkpoint, label: "File:", tab: I/O, kind: file, default: "", flag: --file, help: "A file."}
- {variable: do_a, label: "A?", tab: Tasks, kind: boolean, default: "No", help: "Do A."}
- {variable: do_b, label: "B?", tab: Tasks, kind: boolean, default: "No", help: "Do B."}
- {variable: nr_threads, label: "Threads:", tab: Running, kind: integer, default: "1", flag: --j, help: "Threads."}
- {variable: do_queue, label: "Queue?", tab: Running, kind: boolean, default: "No", environment: RELION_QUEUE_USE, help: "Queue."}
- {variable: queuename, label: "Name:", tab: Running, kind: text, default: "openmpi", environment: RELION_QUEUE_NAME, help: "Q."}
- {variable: qsub, label: "Qsub:", tab: Running, kind: text, default: "sbatch", environment: RELION_QSUB_COMMAND, help: "Qsub."}
- {variable: qsubscript, label: "Script:", tab: Running, kind: file, default: "/no/template", environment: RELION_QSUB_TEMPLATE,
   help: "Template."}
- {variable: other_args, label: "Additional arguments:", tab: Running, kind: text, default: "", help: "Flags."}
"""
TROUBLE_JOB = """
from pathlib import Path
from relion_jobs.contract.jobtype import JobType, Task, Tool
from relion_jobs.contract.options import read_options

JOB_TYPE = JobType(
    name="trouble",
    title="Trouble",
    options=read_options(Path(__file__).with_name("job.yaml")),
    tasks=(
        Task(name="first", title="first", run="trouble.task:run", command="first"),
        Task(name="a", title="a", run="trouble.task:run", command="a", switch="do_a"),
        Task(name="b", title="b", run="trouble.task:run", command="b", switch="do_b"),
    ),
    tools=(Tool(name="shout", run="trouble.task:shout", help="say it loud"),),
)
"""
TROUBLE_TASK = """
import errno, os, signal, sys, time
from relion_jobs.contract.errors import JobFailed, UserError

def run(values, job):
    mood = values["mood"]
    job.report(f"mood {mood}, continue {job.is_continue}, threads {values['nr_threads']}")
    if mood == "user":
        raise UserError("Particle 3 of parts.star is NaN; take it out.")
    if mood == "failed":
        raise JobFailed("The loss is NaN.")
    if mood == "bug":
        raise ZeroDivisionError("first line\\nsecond line")
    if mood == "full":
        raise OSError(errno.ENOSPC, "No space left on device", "map.mrc")
    if mood == "exit":
        sys.exit(0)
    if mood == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if mood == "silent":
        os._exit(3)
    if mood == "warn":
        job.warn("half sets are missing")
    if mood == "gpu":
        job.report(f"CUDA_VISIBLE_DEVICES={os.environ.get('CUDA_VISIBLE_DEVICES')}")
        while not (job.project / "go").exists():
            time.sleep(0.05)
    if mood == "stubborn":
        (job.project / job.directory / "started").touch()
        while True:
            time.sleep(0.05)
    if mood == "slow":
        (job.project / job.directory / "started").touch()
        while True:
            time.sleep(0.02)
            if job.abort_requested():
                (job.project / job.directory / "checkpoint").touch()
                job.check_abort()

def shout(argv):
    print("SHOUT", *argv)
    return 7
"""


@dataclass
class Project:
    """A RELION project and the command line in it."""

    path: Path
    environment: dict[str, str] = field(default_factory=dict)

    def start(self, *words: str, cwd: str | Path = ".", module: str = "relion_jobs", **keywords: object) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", module, *words],
            cwd=self.path / cwd,
            env=os.environ | self.environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **keywords,  # type: ignore[call-overload]
        )

    def call(self, *words: str, cwd: str | Path = ".", module: str = "relion_jobs") -> subprocess.CompletedProcess[str]:
        with self.start(*words, cwd=cwd, module=module) as process:
            out, err = process.communicate(timeout=60)
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    def new(self, *words: str) -> str:
        done = self.call("new", *words)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def marks(self, job: str) -> list[str]:
        return sorted(path.name for path in (self.path / job).glob("RELION_JOB_*"))

    def status(self, job: str) -> str:
        from relion_jobs.ondisk.project import read_pipeline

        return str(read_pipeline(self.path).process(job).status)

    def text(self, name: str) -> str:
        return (self.path / name).read_text()

    def wait_for(self, name: str, seconds: float = 20) -> None:
        self.wait_until(lambda: (self.path / name).exists(), seconds)

    @staticmethod
    def wait_until(condition: Callable[[], bool], seconds: float = 20) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, "waited in vain"
            time.sleep(0.02)


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    """A fresh project with 20 particles in parts.star and the job type ``trouble`` within reach."""
    from relion_jobs.ondisk.project import create

    plugin = tmp_path / "plugins" / "trouble"
    plugin.mkdir(parents=True)
    (plugin / "job.yaml").write_text(TROUBLE_YAML)
    (plugin / "job.py").write_text(TROUBLE_JOB)
    (plugin / "task.py").write_text(TROUBLE_TASK)
    path = create(tmp_path / "project")
    (path / "parts.star").write_text(PARTICLES)
    return Project(path, {"RELION_JOBS_PLUGINS": str(plugin.parent), "RELION_JOBS_SITE": ""})


@dataclass
class RecordingJob:
    """A `RunningJob` that keeps what it is told, and wants to stop once it was asked more than `stop_after` times.

    Its directory is made. `outputs` are labels by path, `steps` what was done of how much.
    """

    project: Path
    directory: Path
    is_continue: bool = False
    stop_after: int = 10**9
    reports: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    outputs: dict[str, str] = field(default_factory=dict)
    steps: list[tuple[int, int]] = field(default_factory=list)
    asked: int = 0

    def __post_init__(self) -> None:
        self.directory = Path(self.directory)
        (self.project / self.directory).mkdir(parents=True, exist_ok=True)

    def report(self, sentence: str) -> None:
        self.reports.append(sentence)

    def warn(self, sentence: str) -> None:
        self.warnings.append(sentence)

    def progress(self, stage: str, done: int, total: int, unit: str, **figures: float) -> None:
        assert 0 <= done <= total, f"{stage}: {done} of {total} {unit}"
        self.steps.append((done, total))

    def abort_requested(self) -> bool:
        self.asked += 1
        return self.asked > self.stop_after

    def check_abort(self) -> None:
        if self.asked > self.stop_after:
            from relion_jobs.contract.errors import JobAborted

            raise JobAborted("Stopped by the test.")

    def start_companion(self, environment: Mapping[str, str]) -> None:
        """A test is one process."""

    def add_output(self, path: Path, label: str) -> None:
        assert (self.project / path).is_file()
        self.outputs[str(path)] = label


@pytest.fixture(scope="session")
def recording_job() -> type[RecordingJob]:
    """The class, as test files cannot import from a conftest: recording_job(project, directory, stop_after=...)."""
    return RecordingJob
