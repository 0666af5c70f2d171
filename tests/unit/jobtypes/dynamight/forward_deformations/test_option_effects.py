"""Each option of the training changes what it is there to change, and nothing else has to be trained to see it."""

from __future__ import annotations

from pathlib import Path

import mrcfile
import numpy as np
import pytest
import torch

from jobtypes.dynamight.forward_deformations.plan import TrainingPlan, make_plan
from jobtypes.dynamight.forward_deformations.preparation import prepare_half
from jobtypes.dynamight.forward_deformations.schedule import EpochPlan
from jobtypes.dynamight.forward_deformations.training import HalfTraining
from jobtypes.dynamight.options import ForwardOptions

EPOCH = EpochPlan(deforms=True, resolution_angstroms=12.0, kl_weight=0.1, learning_rate=1.0)


@pytest.fixture
def prepared(project, values):
    """Plan and freshly seeded half 1 under some flags."""

    def make(flags: str = "", **changes: str) -> tuple[TrainingPlan, HalfTraining]:
        options = ForwardOptions.from_values(values(extra=flags, **changes))
        plan = make_plan(options, Path.cwd())
        device = torch.device("cpu")
        return plan, prepare_half(1, plan, device=device, scratch=None, after_batch=lambda count: None)

    return make


def test_sizes_of_the_model_are_those_asked_for(prepared):
    _, training = prepared("--n-latent-dimensions 3 --n-basis-fields 5 --n-gaussian-widths 3", nr_gaussians="70")
    model = training.model
    assert len(model.gaussians.positions) == 70
    assert len(set(model.gaussians.widths_angstroms.tolist())) == 3
    assert model.gaussians.class_amplitudes().shape == (3, 70)
    assert training.latent_mean.shape[1] == 3
    assert model.field.n_fields == 5


def test_several_widths_are_learned_each_gaussian_chooses_among_them(prepared):
    _, training = prepared("--n-gaussian-widths 2")
    training.run_epoch(EPOCH, lambda: False)
    shares = training.model.gaussians.width_logits.softmax(0)
    assert bool((shares[0] != shares[0, 0]).any())
    assert training.model.gaussians.log_widths.grad is not None


def test_a_threshold_that_is_given_is_the_one_that_is_used_and_said(prepared, values):
    found, _ = prepared()
    given, _ = prepared(initial_threshold="0.5")
    assert given.seed.threshold == 0.5
    assert given.seed.volume_angstroms3 < found.seed.volume_angstroms3
    assert "found automatically" in " ".join(found.sentences())
    assert "0.5 (given)" in " ".join(given.sentences())


@pytest.mark.parametrize("factor", [0.2, 5.0])
def test_the_regularisation_factor_multiplies_the_stiffness(prepared, factor):
    plain, changed = (prepared(reg_factor=str(one))[1].stiffness(EPOCH) for one in (1.0, factor))
    assert changed == pytest.approx(factor * plain)


def test_the_stiffness_is_learned_unless_a_factor_is_given(prepared):
    assert [prepared(reg_factor=factor)[1].settings.learns_stiffness for factor in ("1", "0.2", "5")] == [True, False, False]


def test_outside_a_mask_nothing_moves_and_its_edge_is_soft(prepared, project):
    axis = (np.arange(24) - 12) * 4.0
    ramp = np.clip((axis + 8) / 16, 0, 1)  # of x: 0 below -8 A, 1 above 8 A
    with mrcfile.new(project / "mask.mrc") as file:
        file.set_data(np.tile(ramp.astype(np.float32), (24, 24, 1)))
        file.voxel_size = 4.0
    _, training = prepared("--mask-file mask.mrc")
    training.run_epoch(EPOCH, lambda: False)
    points = torch.tensor([[x, 3.0, -2.0] for x in (-20.0, -9.0, 0.0, 9.0)])
    moved = training.model.displacement(torch.ones(1, 2), points)[0].detach().norm(dim=1)
    assert bool((moved[:2] == 0).all())
    assert float(moved[3]) > float(moved[2]) > 0


def test_diameter_and_soft_edge_shape_the_mask_of_the_images(prepared):
    plan, _ = prepared("--particle-diameter 40 --soft-edge-width 16")
    distance = torch.cdist(torch.tensor([[12.0, 12.0]]), torch.cartesian_prod(torch.arange(24.0), torch.arange(24.0))).view(
        24, 24
    )
    assert bool((plan.mask[distance * 4 <= 20] == 1).all())
    assert bool((plan.mask[distance * 4 >= 36] == 0).all())
    edge = plan.mask[(distance * 4 > 21) & (distance * 4 < 35)]
    assert bool(((edge > 0) & (edge < 1)).all())


def test_batch_rates_and_poses_reach_the_optimiser(prepared):
    _, training = prepared("--training-batch-size 7 --learning-rate 0.5 --no-refine-poses")
    visits = []
    training.run_epoch(EPOCH, lambda: visits.append(training.visits) or False)
    assert visits[:2] == [7, 14]
    _, plain = prepared()
    plain.run_epoch(EPOCH, lambda: True)
    rates = [[group["lr"] for group in one.networks.param_groups] for one in (training, plain)]
    assert rates[0] == pytest.approx([0.5 * rate for rate in rates[1]])
    assert not bool(training.model.poses.corrections.any())


def test_epochs_resolution_and_seed_reach_the_plan(prepared):
    plan, training = prepared("--n-training-epochs 6 --highest-resolution 14 --seed 5")
    assert plan.n_epochs == 6
    assert 14 <= plan.band.resolution(len(plan.band)) < 16
    _, other = prepared("--n-training-epochs 6 --highest-resolution 14 --seed 6")
    assert not torch.equal(training.model.gaussians.positions, other.model.gaussians.positions)


def test_particles_that_have_moved_are_read_where_the_prefix_says(prepared, project):
    first = prepared()[0].images.read([0, 5])
    (project / "far").mkdir()
    (project / "particles.mrcs").rename(project / "far" / "particles.mrcs")
    plan, _ = prepared("--particle-path-prefix =far")
    assert torch.equal(plan.images.read([0, 5]), first)
    assert plan.inputs == prepared("--particle-path-prefix particles.mrcs=far/particles.mrcs")[0].inputs


def test_a_particle_that_stands_twice_is_said_and_takes_no_part(prepared, project):
    before, _ = prepared()
    star = project / "particles.star"
    rows = [line for line in star.read_text().splitlines() if "@" in line]
    star.write_text(star.read_text().rstrip("\n") + "\n" + "\n".join(rows[:3]).replace("@", "@./") + "\n\n")
    plan, training = prepared()
    assert [plan.rows(half).tolist() for half in (1, 2)] == [before.rows(half).tolist() for half in (1, 2)]
    assert plan.held_out[: len(rows)].tolist() == before.held_out.tolist()
    assert not plan.held_out[len(rows) :].any()
    assert len(training.latent_mean) == len(before.rows(1))
    assert plan.inputs != before.inputs
    assert any("3 particle(s) a second time" in sentence for sentence in plan.sentences())
