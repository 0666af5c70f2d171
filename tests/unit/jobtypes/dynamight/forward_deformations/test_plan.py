"""What a plan makes of joined optics groups and of large molecules, beside what `test_task` runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import torch

from jobtypes.common.resampling import Resampling
from jobtypes.dynamight.forward_deformations.plan import TrainingPlan, make_plan
from jobtypes.dynamight.options import ForwardOptions
from tests.unit.jobtypes.dynamight.forward_deformations.conftest import BOX, PIXEL_SIZE, write_stack

FIRST = "1 300.0 2.7 0.1 4.0 24\n"


def join(project: Path, box: int, pixel_size: float) -> None:
    """Put the last half of the particles on another grid, into a second optics group."""
    bring = Resampling(BOX, PIXEL_SIZE, to_box=box, to_pixel_size_angstroms=pixel_size, magnification=np.eye(2))
    images = bring(torch.from_numpy(mrcfile.read(project / "particles.mrcs")))
    write_stack(project / "second.mrcs", images.numpy())
    text = (project / "particles.star").read_text().replace(FIRST, f"{FIRST}2 300.0 2.7 0.1 {pixel_size} {box}\n")
    rows = [
        line.replace("@particles", "@second")[:-1] + "2" if line[:6] > "000024" and "@" in line else line
        for line in text.split("\n")
    ]
    (project / "particles.star").write_text("\n".join(rows))


@pytest.fixture
def plan_of(project, values):
    def make(extra: str = "") -> TrainingPlan:
        return make_plan(ForwardOptions.from_values(values(extra=extra)), project)

    return make


def test_mask_and_band_are_what_the_images_of_all_groups_hold(project, plan_of) -> None:
    alone = plan_of()
    join(project, 15, 5.6)  # 84 A of 96, Nyquist at 11.2 A
    plan = plan_of()
    assert (plan.table.box, plan.table.pixel_size_angstroms) == (BOX, PIXEL_SIZE)
    assert plan.particle_diameter_angstroms == pytest.approx(alone.particle_diameter_angstroms - 12)
    assert alone.band.resolution(len(alone.band)) < 9.6
    assert plan.band.resolution(len(plan.band)) == pytest.approx(2.2 * 5.6, rel=0.05)
    finest = plan_of("--highest-resolution 8").band
    assert finest.resolution(len(finest)) >= 2 * 5.6
    assert [line for line in plan.sentences() if line.startswith("Optics group 2 (15 px of 5.6 A) is brought to")] != []


def test_joined_images_are_those_of_one_grid_within_the_band(project, plan_of) -> None:
    from jobtypes.dynamight.model.observations import Observations

    plans = [plan_of()]
    join(project, 32, 3.0)
    plans.append(plan_of())
    assert len(plans[0].band) == len(plans[1].band)
    found = []
    for plan in plans:
        observations = Observations(plan.table, plan.rows(1), plan.band, plan.mask, device=torch.device("cpu"))
        observations.read(plan.images, lambda count: None)
        found.append(observations.terms(torch.arange(len(observations))))
    assert float((found[0] - found[1]).norm() / found[0].norm()) < 0.02


@pytest.mark.parametrize(("reach", "is_warned"), [(1.05, True), (0.95, False)])
def test_a_molecule_that_the_ewald_sphere_bends_is_warned_of(plan_of, reach: float, is_warned: bool) -> None:
    plan = plan_of()
    depth = plan.band.resolution(len(plan.band)) ** 2 / (2 * 0.019687)  # of a quarter wave at 300 kV, A
    density = torch.zeros(BOX, BOX, BOX)
    density[0, BOX // 2, BOX // 2] = 1  # half a box from the centre
    seed = replace(plan.seed, density=density, threshold=0.5, pixel_size_angstroms=reach * depth / (BOX // 2))
    warnings = replace(plan, seed=seed).warnings()
    assert [warning.startswith("Ewald sphere: the molecule reaches ") for warning in warnings] == [True] * is_warned
