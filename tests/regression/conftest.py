"""A stub of RELION 5: launches DynaMight jobs with the files, command lines and redirections of its GUI and pipeliner."""

from __future__ import annotations

import os
import subprocess
import time
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path, PurePath

import pytest

from relion_jobs.contract.labels import Status
from relion_jobs.contract.nodes import DENSITY_MAP, PARTICLES, Node
from relion_jobs.ondisk import job_star, pipeline_star
from relion_jobs.ondisk.gui_settings import write_gui_settings
from relion_jobs.ondisk.job_directory import JobDirectory
from relion_jobs.ondisk.project import create, edit_pipeline, read_pipeline
from relion_jobs.pipeline.graph import Process, add_outputs, add_process, job_pipeline, with_status

HALF_MAP = "DensityMap.mrc.relion.halfmap.dynamight"
HALF_MAPS = ("backprojection/map_half1.mrc", "backprojection/map_half2.mrc")
STATUS_OF_MARK = {  # in RELION's order of preference
    "RELION_JOB_EXIT_SUCCESS": Status.SUCCEEDED,
    "RELION_JOB_EXIT_FAILURE": Status.FAILED,
    "RELION_JOB_EXIT_ABORTED": Status.ABORTED,
}
# RELION's defaults of a new DynaMight job
DEFAULTS = {
    "backproject_batchsize": "10",
    **dict.fromkeys(("do_inverse", "do_preload", "do_queue", "do_reconstruct", "do_store_deform", "do_visualize"), "No"),
    "fn_checkpoint": "",
    "fn_dynamight_exe": "relion_python_dynamight",
    "fn_map": "",
    "fn_star": "",
    "gpu_id": "0",
    "halfset": "1",
    "initial_threshold": "",
    "min_dedicated": "1",
    "nr_epochs": "200",
    "nr_gaussians": "10000",
    "nr_threads": "1",
    "other_args": "",
    "qsub": "sbatch",
    "qsubscript": "/public/EM/RELION/relion/bin/relion_qsub.csh",
    "queuename": "openmpi",
    "reg_factor": "1",
}


def command_line(values: dict[str, str], directory: str, *, is_continue: bool) -> str:
    """The command of a DynaMight job, blank for blank as RELION 5.0.1 makes it."""
    v = values
    checkpoint = f" --checkpoint-file {v['fn_checkpoint']}" if v["fn_checkpoint"] else ""
    gpu = f" --gpu-id {v['gpu_id']}" if v["gpu_id"] else ""
    preload = " --preload-images" if v["do_preload"] == "Yes" else ""
    if not is_continue:
        command = f"{v['fn_dynamight_exe']} optimize-deformations  --refinement-star-file {v['fn_star']} --output-directory "
        command += f"{directory} --initial-model {v['fn_map']} --n-gaussians {v['nr_gaussians']}"
        command += f" --initial-threshold {v['initial_threshold']}" if v["initial_threshold"] else ""
        command += f" --regularization-factor {v['reg_factor']} --n-threads {v['nr_threads']}{preload}"
        command += (" " if preload else "") + gpu
    elif v["do_visualize"] == "Yes":
        command = f"{v['fn_dynamight_exe']} explore-latent-space {directory} --half-set {v['halfset']}{checkpoint}{gpu}"
    elif v["do_inverse"] == "Yes":
        command = f"{v['fn_dynamight_exe']} optimize-inverse-deformations {directory} --n-epochs {v['nr_epochs']}{checkpoint}"
        command += (" --save-deformations " if v["do_store_deform"] == "Yes" else "") + preload + gpu
    else:
        command = f"{v['fn_dynamight_exe']} deformable-backprojection {directory} --batch-size {v['backproject_batchsize']}"
        command += checkpoint + preload + gpu
    command += f" {v['other_args']}"
    return command + (f" --pipeline-control {directory}" if "relion_" in command else "")


@dataclass
class Relion:
    """RELION in one project directory.

    Parameters
    ----------
    project
        Project directory.
    values
        Options of the jobs that it launches.
    """

    project: Path
    values: dict[str, str]

    def new(self, **changes: str) -> str:
        """Press "Run!": a new job."""
        pipeline = read_pipeline(self.project)
        return self._launch(pipeline.next_job_directory("DynaMight"), self.values | changes, is_continue=False)

    def again(self, name: str, **changes: str) -> str:
        """Press "Continue!" with a task ticked."""
        return self._launch(name, self.values | changes, is_continue=True)

    def _launch(self, name: str, values: dict[str, str], *, is_continue: bool) -> str:
        directory = JobDirectory(self.project, name)
        directory.path.mkdir(parents=True, exist_ok=True)
        request = job_star.JobRequest("dynamight", is_continue, False, values)
        inputs = [] if is_continue else [Node(values["fn_star"], PARTICLES), Node(values["fn_map"], DENSITY_MAP)]
        is_reconstruction = is_continue and values["do_reconstruct"] == "Yes"
        outputs = [Node(str(PurePath(name) / path), HALF_MAP) for path in HALF_MAPS] if is_reconstruction else []
        with edit_pipeline(self.project, f"runJob: {name}") as edit:
            write_gui_settings(self.project, "dynamight", request)
            job_star.write(request, directory.path / "job.star")
            directory.clear_marks()
            old = edit.pipeline.find(name)
            row = replace(old, status=Status.RUNNING) if old else Process(name, None, "dynamight", Status.RUNNING)
            edit.pipeline = add_outputs(add_process(edit.pipeline, row, inputs), name, outputs)
            pipeline_star.write(job_pipeline(row, inputs, outputs), directory.path / "job_pipeline.star")
        # as an open GUI that has read the pipeline
        (self.project / ".pipeline_has_changed").unlink(missing_ok=True)
        command = command_line(values, name, is_continue=is_continue)
        environment = os.environ | {"OMP_NUM_THREADS": "1", "RELION_JOBS_SITE": ""}
        subprocess.run(
            ["sh", "-c", f"{command} >> {name}run.out 2>> {name}run.err & "], cwd=self.project, env=environment, check=True
        )
        directory.append_note(command, datetime.now())
        directory.copy_pipeline()
        return name

    def wait(self, name: str, seconds: float = 900) -> Status:
        """Wait as an open GUI does: for the flag; then look for marks and enter the end."""
        deadline = time.monotonic() + seconds
        while not (self.project / ".pipeline_has_changed").exists():
            assert time.monotonic() < deadline, self.log(name)
            time.sleep(0.05)
        marks = [mark for mark in STATUS_OF_MARK if (self.project / name / mark).exists()]
        assert len(marks) == 1, self.log(name)
        status = STATUS_OF_MARK[marks[0]]
        with edit_pipeline(self.project, "checkProcessCompletion") as edit:
            edit.pipeline = with_status(edit.pipeline, name, status)
            if status is Status.SUCCEEDED:
                known = {node.path for node in edit.pipeline.nodes}
                listed = JobDirectory(self.project, name).read_output_nodes()
                edit.pipeline = add_outputs(edit.pipeline, name, [node for node in listed if node.path not in known])
        return status

    def wait_for_line(self, name: str, word: str, seconds: float = 600) -> None:
        """Wait until run.out holds a word."""
        deadline = time.monotonic() + seconds
        while word not in self.log(name):
            assert time.monotonic() < deadline, self.log(name)
            time.sleep(0.05)

    def log(self, name: str) -> str:
        """run.out and run.err."""
        files = [self.project / name / file for file in ("run.out", "run.err")]
        return "\n".join(path.read_text() for path in files if path.exists())

    def errors(self, name: str) -> list[str]:
        """Lines of run.err."""
        return (self.project / name / "run.err").read_text().splitlines()

    def outputs(self, name: str) -> set[str]:
        """Output nodes of a job, inside its directory."""
        return {node.path.removeprefix(name) for node in read_pipeline(self.project).outputs_of(name)}


@pytest.fixture(scope="module")
def small_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with particles.star, particles.mrcs and map.mrc: 48 particles of a dumbbell that swings."""
    import importlib.util

    file = Path(__file__).parents[1] / "unit" / "jobtypes" / "dynamight" / "forward_deformations" / "conftest.py"
    spec = importlib.util.spec_from_file_location("dumbbell", file)
    assert spec is not None and spec.loader is not None  # noqa: PT018
    dumbbell = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(dumbbell)
    return dumbbell.make_project(tmp_path_factory.mktemp("set"))


@pytest.fixture(scope="module")
def relion(small_set: Path) -> Relion:
    """RELION in a project with that set, its DynaMight executable being ours."""
    import sys

    project = create(small_set)
    (project / "DynaMight" / "job001").rmdir()
    flags = "--n-training-epochs 1 --training-batch-size 8 --soft-edge-width 12 --n-basis-fields 4 --n-latent-dimensions 2"
    flags += " --reconstruction-iterations 3 --n-motions 0 --n-clusters 2"
    program = Path(sys.executable).with_name("relion_jobs_dynamight")
    given = {"fn_star": "particles.star", "fn_map": "map.mrc", "nr_gaussians": "60", "nr_epochs": "2", "other_args": flags}
    exe = str(program) if program.exists() else f"{sys.executable} -m relion_jobs.dropin dynamight"
    return Relion(project, DEFAULTS | given | {"fn_dynamight_exe": exe})
