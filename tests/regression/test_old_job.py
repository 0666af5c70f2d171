"""A training that an earlier version has left (tests/data/old_job) is gone on with, whatever options there are today."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from jobtypes.common.checkpoints import save_checkpoint
from jobtypes.dynamight import options
from jobtypes.dynamight.forward_deformations import task
from jobtypes.dynamight.forward_deformations.checkpointing import load_last
from jobtypes.dynamight.model.displacement import DisplacementField
from jobtypes.dynamight.model.encoder import Encoder
from jobtypes.dynamight.model.result import FORMAT_VERSION, KIND
from jobtypes.dynamight.options import OPTIONS, ForwardOptions
from relion_jobs.contract.errors import JobAborted, UserError
from relion_jobs.contract.options import Option

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
def go_on(tmp_path, monkeypatch, recording_job):
    """Go on with a copy of the old job, with networks as narrow as its own: go_on(stop_after=..., **values)."""
    monkeypatch.setattr(Encoder.__init__, "__defaults__", (8,))
    monkeypatch.setattr(DisplacementField.__init__, "__kwdefaults__", {"width": 8})
    shutil.copytree(DATA, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)

    def run(*, stop_after=10**9, **values):
        job = recording_job(tmp_path, JOB, is_continue=True, stop_after=stop_after)
        task.run(VALUES | values, job)
        return job

    return run


def change_stored_options(change) -> None:
    content = load_last(JOB)
    change(content["options"])
    save_checkpoint(JOB / "forward_deformations/checkpoints/002.pth", content, kind=KIND, version=FORMAT_VERSION)


def goes_on(go_on, **values) -> bool:
    """Whether the training is taken up; it is left again at once."""
    with pytest.raises(JobAborted):
        go_on(stop_after=20, **values)
    return not list(JOB.glob("previous_*"))


def test_the_epochs_that_are_left_become_what_they_would_have_become(go_on):
    job = go_on()
    assert "Going on from epoch 2." in job.reports
    last = load_last(JOB)
    assert (last["finished"], last["epoch"]) == (True, 8)
    expected = json.loads((DATA / "history.json").read_text())
    for row, then in zip(last["history"], expected, strict=True):
        assert (row["epoch"], row["half"]) == (then["epoch"], then["half"])
        for name in ("loss", "held_out"):
            assert row[name] == pytest.approx(then[name], rel=1e-3), f"{name} of epoch {row['epoch']}, half {row['half']}"


def test_it_starts_from_what_was_learned_and_keeps_its_options(go_on):
    before = load_last(JOB)["halves"][1]["model"]["gaussians.positions"]
    assert goes_on(go_on)
    after = load_last(JOB)
    assert 0 < float((after["halves"][1]["model"]["gaussians.positions"] - before).abs().max()) < 1.0  # a few steps of 0.03 A
    assert after["options"] == ForwardOptions.from_values(VALUES).as_dict()


def test_an_option_that_the_old_version_did_not_have_counts_as_its_default(go_on, monkeypatch):
    monkeypatch.setattr(options, "OPTIONS", (*OPTIONS, NEW))
    monkeypatch.setattr(task, "ForwardOptions", WiderOptions)
    with pytest.raises(UserError, match=r"Option n_rounds is '5', but the training in .* was made with '3'; .* start a new job"):
        go_on(n_rounds=5)
    assert goes_on(go_on)
    assert load_last(JOB)["options"]["n_rounds"] == 3


def test_any_option_of_today_may_be_unknown_to_a_still_older_version_where_it_has_its_default(go_on):
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
    assert content["format_version"] <= FORMAT_VERSION
