"""A training that an earlier version has left (tests/data/old_job) is refused, and its options are read; and stored options."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

from jobtypes.common.checkpoints import save_checkpoint
from jobtypes.dynamight import export, options
from jobtypes.dynamight.backprojection import task as backprojection
from jobtypes.dynamight.forward_deformations import task
from jobtypes.dynamight.forward_deformations.checkpointing import load_last
from jobtypes.dynamight.inverse_deformations import task as inverse
from jobtypes.dynamight.model.result import FORMAT_VERSION, KIND, checkpoint_path
from jobtypes.dynamight.options import OPTIONS, ForwardOptions
from jobtypes.dynamight.visualization import subset
from jobtypes.dynamight.visualization import task as visualization
from relion_jobs.contract.errors import JobAborted, UserError
from relion_jobs.contract.labels import Status
from relion_jobs.contract.options import Option, parse_values
from relion_jobs.ondisk import job_star
from relion_jobs.ondisk.project import create, edit_pipeline
from relion_jobs.pipeline.graph import Process

DATA = Path(__file__).parents[1] / "data/old_job"
JOB = Path("DynaMight/job001")
VALUES = {
    "fn_star": "particles.star",
    "fn_map": "map.mrc",
    "nr_gaussians": 60,
    "n_training_epochs": 8,
    "training_batch_size": 5,
    "soft_edge": 12.0,
    "n_basis_fields": 4,
    "n_latent_dimensions": 2,
}
NEW = Option("n_rounds", "Rounds:", "Training", "integer", "3", "", tasks=("forward_deformations",))


@dataclass(frozen=True)
class WiderOptions(ForwardOptions):
    """The options of a later version, which has one more."""

    n_rounds: int


@pytest.fixture
def project(tmp_path, monkeypatch):
    """The project of the old job; the working directory."""
    shutil.copytree(DATA, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    create(tmp_path)
    with edit_pipeline(tmp_path, "test") as edit:
        edit.pipeline = replace(edit.pipeline, processes=(Process(f"{JOB}/", None, "dynamight", Status.SUCCEEDED),))
    return tmp_path


@pytest.fixture
def go_on(project, recording_job):
    """Go on with a training of today with the options of the old job: go_on(stop_after=..., **values)."""
    shutil.rmtree(JOB / "forward_deformations")

    def run(*, stop_after=10**9, is_continue=True, **values):
        job = recording_job(project, JOB, is_continue=is_continue, stop_after=stop_after)
        task.run(VALUES | values, job)
        return job

    with pytest.raises(JobAborted):
        run(stop_after=60, is_continue=False)
    return run


def change_stored_options(change) -> None:
    content = load_last(JOB)
    change(content["options"])
    save_checkpoint(checkpoint_path(JOB, None), content, kind=KIND, version=FORMAT_VERSION)


def goes_on(go_on, **values) -> bool:
    """Whether the training is taken up; it is left again at once."""
    with pytest.raises(JobAborted):
        go_on(stop_after=5, **values)
    return not list(JOB.glob("previous_*"))


@pytest.mark.parametrize(
    "use",
    [
        pytest.param(task.run, id="forward deformations"),
        pytest.param(inverse.run, id="inverse deformations"),
        pytest.param(backprojection.run, id="backprojection"),
        pytest.param(visualization.run, id="visualization"),
        pytest.param(lambda values, job: export.main([str(JOB), "--output", "numbers"]), id="export"),
        pytest.param(lambda values, job: subset.main([str(JOB), "--motion", "1", "0", "max"]), id="subset"),
    ],
)
def test_every_task_refuses_the_old_training_and_says_what_to_do(project, recording_job, use):
    before = sorted(project.rglob("*.pth"))
    with pytest.raises(
        UserError,
        match=rf"The checkpoint .*002.pth has format 4, but this program reads format {FORMAT_VERSION}; run the forward "
        "deformations again in a new job, or go on with the version of relion_jobs that wrote it.$",
    ):
        use(VALUES | {"halfset": 1}, recording_job(project, JOB, is_continue=True))
    assert sorted(project.rglob("*.pth")) == before


def test_options_of_the_old_job_are_still_read(project):
    request = job_star.read(project / JOB)
    values = parse_values(OPTIONS, request.values, task="forward_deformations")
    assert ForwardOptions.from_values(values) == ForwardOptions.from_values(VALUES)


def test_an_option_that_the_version_before_did_not_have_counts_as_its_default(go_on, monkeypatch):
    monkeypatch.setattr(options, "OPTIONS", (*OPTIONS, NEW))
    monkeypatch.setattr(task, "ForwardOptions", WiderOptions)
    with pytest.raises(UserError, match=r"Option n_rounds is '5', but the training in .* was made with '3'; .* start a new job"):
        go_on(n_rounds=5)
    assert goes_on(go_on)
    assert load_last(JOB)["options"]["n_rounds"] == 3


def test_any_option_of_today_may_be_unknown_to_the_version_before_where_it_has_its_default(go_on):
    change_stored_options(lambda stored: [stored.pop(name) for name in ("n_gaussian_widths", "refine_poses", "fn_mask", "seed")])
    with pytest.raises(UserError, match=r"Option seed is '2', but .* made with '1'"):
        go_on(seed=2)
    assert goes_on(go_on)


def test_an_option_that_this_version_does_not_have_is_refused_unless_it_is_kept_to(go_on, monkeypatch):
    change_stored_options(lambda stored: stored.update(n_rounds=3))
    sentence = (
        r"The training in .* was made with option n_rounds \('3'\), which this version .* does not have; .* start a new job"
    )
    with pytest.raises(UserError, match=sentence):
        go_on()
    monkeypatch.setattr(options, "WITHDRAWN", {"n_rounds": 4})
    with pytest.raises(UserError, match=sentence):
        go_on()
    monkeypatch.setattr(options, "WITHDRAWN", {"n_rounds": 3})
    assert goes_on(go_on)
    assert "n_rounds" not in load_last(JOB)["options"]


def test_the_kept_checkpoint_is_opened_without_running_code():
    content = torch.load(DATA / JOB / "forward_deformations/checkpoints/002.pth", weights_only=True)
    assert content["format_version"] < FORMAT_VERSION
