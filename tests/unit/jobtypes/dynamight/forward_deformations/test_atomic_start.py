"""A start from an atomic model: what a model in the map becomes, and what is said of one that is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from jobtypes.dynamight import layout
from jobtypes.dynamight.forward_deformations.atomic_start import BIAS, start_from_model
from jobtypes.dynamight.forward_deformations.plan import make_plan
from jobtypes.dynamight.forward_deformations.seeding import Seed, make_seed
from jobtypes.dynamight.forward_deformations.task import run
from jobtypes.dynamight.model.result import read_checkpoint
from jobtypes.dynamight.options import ForwardOptions
from relion_jobs.contract.errors import UserError
from tests.unit.jobtypes.common.test_atomic_models import write
from tests.unit.jobtypes.dynamight.forward_deformations.conftest import balls

BOX, PIXEL = 32, 4.0
CENTRE = BOX // 2 * PIXEL
# alpha carbons of a hook without mirror plane, A from the middle of the box
UP, ALONG, ACROSS = ([tuple(4 * k if axis == other else 0 for other in range(3)) for k in range(1, 10)] for axis in (2, 0, 1))
CORNERS = np.repeat([(-12, -12, -24), (-12, -12, 12), (24, -12, 12)], 9, axis=0)
PLACES = np.array(UP + ALONG + ACROSS) + CORNERS


def residues(places: np.ndarray, element: str = "C") -> dict:
    """One alpha carbon in each residue."""
    return {f"R{number:02d}": [("CA", element, tuple(map(float, place)), 1)] for number, place in enumerate(places)}


@pytest.fixture(scope="module")
def seed() -> Seed:
    axis = (torch.arange(BOX) - BOX // 2) * PIXEL
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    density = sum(torch.exp(-((x - a) ** 2 + (y - b) ** 2 + (z - c) ** 2) / (2 * 5.0**2)) for a, b, c in PLACES.tolist())
    return make_seed(density, PIXEL, threshold=None, radius_angstroms=60.0)


def test_gaussians_lie_on_the_residues_and_weigh_what_their_atoms_do(seed: Seed, tmp_path: Path) -> None:
    model = residues(PLACES + CENTRE)
    model["R00"] = [("CA", "S", tuple(PLACES[0] + CENTRE), 1)]
    found = start_from_model(seed, write(tmp_path / "model.pdb", model), most=100)
    gaussians = found.gaussians(100, 1, torch.Generator())
    torch.testing.assert_close(gaussians.positions.detach(), torch.from_numpy(PLACES).float(), atol=1e-3, rtol=0)
    amplitudes = gaussians.amplitudes.detach()
    assert float(amplitudes[0] / amplitudes[1]) == pytest.approx(16 / 6, rel=1e-5)
    assert float(amplitudes.mean()) == pytest.approx(1, rel=1e-5)
    assert found.pieces is not None
    assert found.pieces.warnings == (BIAS,)


def test_two_gaussians_on_a_residue_become_one_where_so_many_are_not_wanted(seed: Seed, tmp_path: Path) -> None:
    model = {name: [*atoms, ("CB", "C", atoms[0][2], 1)] for name, atoms in residues(PLACES + CENTRE).items()}
    path = write(tmp_path / "model.cif", model)
    numbers = [len(start_from_model(seed, path, most).pieces.weights) for most in (54, 53, 27)]
    assert numbers == [54, 27, 27]
    with pytest.raises(UserError, match=r"has 27 residues, more than the 26 Gaussians asked for; raise nr_gaussians\."):
        start_from_model(seed, path, 26)


@pytest.mark.parametrize(
    ("places", "words"),
    [
        (PLACES, r"moved by half the box; its coordinates are from the middle of the box: add 64 A to each"),
        (PLACES + CENTRE + (40, -30, 0), r"% of the atomic model .* lies outside .*; fit it into the map"),
        (PLACES * (1, -1, 1) + CENTRE, r"as its mirror image; one of them has the wrong hand"),
        (PLACES[:, [2, 0, 1]] + CENTRE, r"turned about the middle of the box; fit it into the map"),
    ],
)  # fmt: skip
def test_a_model_that_does_not_lie_in_the_map_is_refused_with_what_is_wrong(seed: Seed, tmp_path: Path, places, words) -> None:
    with pytest.raises(UserError, match=words):
        start_from_model(seed, write(tmp_path / "model.pdb", residues(places)), 100)


def test_a_part_of_the_map_without_atoms_is_told(seed: Seed, tmp_path: Path) -> None:
    found = start_from_model(seed, write(tmp_path / "model.pdb", residues(PLACES[:22] + CENTRE)), 100)
    assert found.pieces is not None
    (told,) = (warning for warning in found.pieces.warnings if "away from the atomic model" in warning)
    assert 1 < float(told.split(" %")[0]) < 25


def model_of_balls(project: Path) -> Path:
    """The dumbbell as four residues of one alpha carbon each, in the frame of its map."""
    return write(project / "model.pdb", residues(balls(0.0) + 48.0))


def test_the_plan_says_how_many_gaussians_the_model_gives_and_warns_of_bias(project: Path, values) -> None:
    model_of_balls(project)
    plan = make_plan(ForwardOptions.from_values(values(extra="--atomic-model model.pdb")), project)
    assert plan.size.n_gaussians == 4
    assert any("4 Gaussians, up to two on each residue of model.pdb" in line for line in plan.sentences())
    assert BIAS in plan.warnings()
    assert "fn_model" in plan.inputs


def test_held_out_images_are_set_beside_those_of_a_job_that_began_from_the_map(project: Path, values, recording_job) -> None:
    model_of_balls(project)
    run(values(), recording_job(project, "DynaMight/job001"))
    (project / "DynaMight/job002").mkdir()
    beside = recording_job(project, "DynaMight/job002")
    run(values(extra="--atomic-model model.pdb"), beside)
    (line,) = (line for line in beside.reports if line.startswith("Half 1: held-out particles are "))
    assert "in DynaMight/job001, which began from the map" in line
    theirs, mine = (read_checkpoint(Path(f"DynaMight/job00{job}") / layout.FINAL_CHECKPOINT)["halves"][1] for job in (1, 2))
    gain = (theirs["held_out_verdict"]["loss"] - mine["held_out_verdict"]["loss"]).mean()
    assert f"likely ({float(gain):+.1f} ± " in line


def test_a_training_of_other_images_is_not_compared(project: Path, values, recording_job) -> None:
    model_of_balls(project)
    run(values(extra="--highest-resolution 12"), recording_job(project, "DynaMight/job001"))
    (project / "DynaMight/job002").mkdir()
    job = recording_job(project, "DynaMight/job002")
    run(values(extra="--atomic-model model.pdb"), job)
    assert sum("no finished training of these particles without fn_model stands beside" in line for line in job.reports) == 2
