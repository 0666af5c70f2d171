from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from jobtypes.common.checkpoints import load_checkpoint
from jobtypes.common.team import Team
from jobtypes.dynamight.inverse_deformations import task
from jobtypes.dynamight.model.inverse_displacement import FORMAT_VERSION, KIND, load_inverses
from jobtypes.dynamight.model.result import load_centred_result
from jobtypes.dynamight.options import InverseOptions
from relion_jobs.contract.errors import JobAborted, UserError
from tests.crews import work_as_team

FINAL = Path("DynaMight/job002/inverse_deformations/inv_chkpt.pth")


@pytest.fixture(autouse=True)
def _few_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task, "_PROBE_PAIRS", 600)
    monkeypatch.setattr(task, "_PAIRS_PER_EPOCH", 3000)
    monkeypatch.setattr(task, "_CHECKPOINT_EVERY", 2)


def contents() -> dict:
    return load_checkpoint(FINAL, kind=KIND, version=FORMAT_VERSION)


def test_the_network_inverts_the_forward_map(flexible_job) -> None:
    task.run({"nr_epochs": 30}, flexible_job)
    numbers = json.loads(FINAL.with_name("accuracy.json").read_text())["half1"]
    assert numbers["unmoved"]["median"] > 1.0
    assert numbers["gaussians"]["network"]["median"] < 0.35
    assert numbers["gaussians"]["corrected"]["median"] < 0.01
    assert any("round trip at Gaussians" in line for line in flexible_job.reports)


def test_what_is_loaded_gives_consensus_positions_back(flexible_job, forward) -> None:
    task.run({"nr_epochs": 20}, flexible_job)
    inverses = load_inverses(flexible_job.directory, forward)
    model, latent = forward.halves[2].model, forward.halves[2].latent_mean[:1]
    positions = model.gaussians.positions
    coefficients = model.field.coefficients(latent)[0]
    found = inverses[2].consensus_positions(positions + model.displacement(latent)[0], coefficients)
    assert (found - positions).norm(dim=1).median() < 0.02


def test_figures_are_drawn_and_registered(flexible_job) -> None:
    task.run({"nr_epochs": 2}, flexible_job)
    assert sorted(path.name for path in (FINAL.parent / "figures").glob("*.png")) == ["01_training.png", "02_round_trip.png"]
    assert flexible_job.outputs == {"DynaMight/job002/logfile.pdf": "LogFile.pdf.relion.dynamight"}


@pytest.mark.parametrize("store", [False, True])
def test_a_stopped_and_resumed_training_gives_the_same_bytes(flexible_job, store: bool) -> None:
    values = {"nr_epochs": 5, "do_store_deform": store}
    task.run(values, flexible_job)
    whole = FINAL.read_bytes()
    for path in FINAL.parent.glob("inv_chkpt*"):
        path.unlink()
    flexible_job.stop_after, flexible_job.asked = 70, 0
    with pytest.raises(JobAborted):
        task.run(values, flexible_job)
    assert not FINAL.exists()
    flexible_job.stop_after = 10**9
    task.run(values, flexible_job)
    assert any("Going on after epoch" in line for line in flexible_job.reports)
    assert FINAL.read_bytes() == whole


def test_half_1_does_not_depend_on_half_2(flexible_job, build_checkpoint) -> None:
    task.run({"nr_epochs": 2}, flexible_job)
    before = contents()["halves"]
    for path in FINAL.parent.glob("inv_chkpt*"):
        path.unlink()
    build_checkpoint(flexible_job.project, shift_half2=0.1)
    task.run({"nr_epochs": 2}, flexible_job)
    after = contents()["halves"]
    same = [all(torch.equal(before[h]["network"][k], after[h]["network"][k]) for k in before[h]["network"]) for h in ("1", "2")]
    assert same == [True, False]


def test_an_inverse_of_another_checkpoint_is_moved_aside_and_refused_by_others(flexible_job, forward, build_checkpoint) -> None:
    task.run({"nr_epochs": 1}, flexible_job)
    build_checkpoint(flexible_job.project, identity="second")
    second = load_centred_result(flexible_job.directory)
    with pytest.raises(UserError, match=f"trained on '{forward.identity[:8]}', not on '{second.identity[:8]}'"):
        load_inverses(flexible_job.directory, second)
    task.run({"nr_epochs": 1}, flexible_job)
    assert (flexible_job.directory / "previous_001" / FINAL.relative_to(flexible_job.directory)).is_file()
    assert contents()["forward_identity"] == second.identity


def test_a_finished_training_is_not_repeated(flexible_job) -> None:
    task.run({"nr_epochs": 2}, flexible_job)
    before = FINAL.read_bytes()
    task.run({"nr_epochs": 2}, flexible_job)
    assert FINAL.read_bytes() == before
    assert any("Going on after epoch 2" in line for line in flexible_job.reports)


def test_the_plan_names_checkpoint_and_particles(flexible_job) -> None:
    plan = " ".join(task.check({}, flexible_job.directory))
    assert "checkpoint_final.pth (epoch 7): at most 200 epochs over the latents of 25 and 25 training particles" in plan


def test_without_a_training_the_plan_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="run the forward deformations of this job first"):
        task.check({}, tmp_path)


def test_two_processes_of_three_have_a_half_each_and_write_what_one_writes(flexible_job) -> None:
    options = InverseOptions.from_values({"nr_epochs": 3})
    task.invert(options, flexible_job, Team())
    alone = FINAL.read_bytes()
    for path in FINAL.parent.glob("inv_chkpt*"):
        path.unlink()
    jobs = [replace(flexible_job, reports=[]) for _ in range(3)]
    work_as_team(3, lambda team: task.invert(options, jobs[team.rank], team))
    assert FINAL.read_bytes() == alone
    assert sum("ended after epoch 3" in line for line in jobs[0].reports) == 2
