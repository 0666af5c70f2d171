"""The whole task on a molecule whose motion is known: maps against the truth, files, going on, refusals."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import mrcfile
import numpy as np
import pytest
import starfile
import torch

from jobtypes.dynamight.states import task
from jobtypes.dynamight.visualization.written_states import read_states, write_list, written_state
from relion_jobs.contract.errors import JobAborted, UserError


def correlation(first: np.ndarray, second: torch.Tensor, mask: torch.Tensor) -> float:
    inside = mask.numpy() > 0.5
    a, b = first[inside] - first[inside].mean(), second.numpy()[inside] - second.numpy()[inside].mean()
    return float((a * b).sum() / (np.linalg.norm(a) * np.linalg.norm(b)))


def table(job, name: str = "states"):
    return starfile.read(job.directory / "states/states.star", always_dict=True)[name]


def list_of_states(swinging, path: Path, latents: tuple[float, ...]) -> Path:
    session = swinging.session(1)
    states = session.latent_states(torch.tensor(latents)[:, None])
    write_list(path, [written_state(session, path, f"place {k}", at, is_outside=False) for k, at in enumerate(states)])
    return path


@pytest.fixture
def two_states(swinging):
    """A run of two states, listed by where they are in the truth."""
    coordinates = (0.15, 0.85)
    middle = float(swinging.truth.consensus_coordinates[0])
    path = list_of_states(swinging, swinging.project / "list.star", tuple(c - middle for c in coordinates))
    job = swinging.job()
    swinging.run(job, states_at="listed", states_file=path.name)
    return coordinates, job


def test_each_state_is_the_true_one_sharper_than_the_plain_particles(swinging, two_states):
    coordinates, job = two_states
    for number, coordinate in enumerate(coordinates, start=1):
        true, mask = (draw(np.array([coordinate])) for draw in (swinging.truth.render, swinging.truth.mobile_mask))
        other = swinging.truth.render(np.array([1 - coordinate]))
        folder = job.directory / "states"
        state, plain, nearest = (mrcfile.read(folder / f"state{number:03d}{kind}.mrc") for kind in ("", "_plain", "_nearest"))
        assert correlation(state, true, mask) > 0.85
        assert correlation(state, true, mask) > correlation(state, other, mask) + 0.3
        assert correlation(state, true, mask) > max(correlation(volume, true, mask) for volume in (plain, nearest))
        for half in (1, 2):
            assert correlation(mrcfile.read(folder / f"state{number:03d}_half{half}.mrc"), true, mask) > 0.7
    rows = table(job)
    assert rows["shown"].between(0.7, 1.3).all()
    assert not [warning for warning in job.warnings if "not to be trusted" in warning]


def test_a_motion_that_only_the_models_believe_in_is_seen(make_swinging):
    shuffled = np.random.default_rng(0)
    swinging = make_swinging(shuffled.uniform(0, 1, (240, 1)))
    job = swinging.job()
    swinging.run(job)
    assert (table(job)["shown"] < 0.3).all()
    assert len([warning for warning in job.warnings if "is not to be trusted: of the change" in warning]) == 2


def test_half_maps_are_nodes_that_postprocess_takes_and_the_tables_name_the_maps(swinging, two_states):
    _, job = two_states
    labels = {Path(path).name: label for path, label in job.outputs.items()}
    for number in (1, 2):
        for half in (1, 2):
            assert labels[f"state{number:03d}_half{half}.mrc"].startswith("DensityMap.mrc.relion.halfmap")
    rows = table(job)
    assert all((job.directory / file).is_file() for file in rows["file"])
    assert rows["state"].tolist() == ["place 0", "place 1"]
    assert set(table(job, "widths")["state"]) == {"place 0", "place 1"}
    for half in (1, 2):  # where the states are, in the coordinates of each half set
        listed = read_states(job.directory / f"states/states_half{half}.star", len(swinging.session(half).motions))
        assert [name for name, _ in listed] == ["place 0", "place 1"]
        if half == 1:
            given = read_states(swinging.project / "list.star", len(swinging.session(1).motions))
            torch.testing.assert_close([place for _, place in listed], [place for _, place in given], atol=0.011, rtol=0)
    with mrcfile.open(job.directory / "states/state001_half1.mrc") as file:
        assert float(file.voxel_size.x) == 5.0
    assert (job.directory / "states/figures/states.png").is_file()
    assert "logfile.pdf" in labels
    assert not list((job.directory / "states").glob("solved*"))
    assert not list((job.directory / "states").glob("partial_sums*"))


def test_states_of_either_half_are_the_same_states(swinging):
    maps = {}
    for half in (1, 2):
        job = swinging.job(f"DynaMight/job00{half}")
        sign = 3 - 2 * half
        (swinging.project / "latents.txt").write_text(f"{sign * 0.3}\n")
        swinging.run(job, states_at="listed", latents_file="latents.txt", halfset=half, states_width=3.0)
        maps[half] = mrcfile.read(job.directory / "states/state001.mrc")
    assert np.corrcoef(maps[1].ravel(), maps[2].ravel())[0, 1] > 0.98


@pytest.mark.parametrize("stop_after", [3, 60])
def test_a_run_that_was_stopped_goes_on_to_the_same_maps(swinging, stop_after):
    undisturbed = swinging.job("DynaMight/job002")
    swinging.run(undisturbed, states_width=4.0)
    job = swinging.job("DynaMight/job003", stop_after=stop_after)
    with pytest.raises(JobAborted):
        swinging.run(job, states_width=4.0)
    solved = len(list((job.directory / "states/solved").glob("*.pth")))
    again = swinging.job("DynaMight/job003")
    swinging.run(again, states_width=4.0)
    assert "Going on with the maps of an earlier run." in again.reports
    assert (again.asked < undisturbed.asked) == (solved > 0) == (stop_after > 3)
    for name in ("state001_half1.mrc", "state002_plain_half2.mrc"):
        expected = mrcfile.read(undisturbed.directory / "states" / name)
        found = mrcfile.read(again.directory / "states" / name)
        np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


def test_what_other_states_left_is_not_gone_on_with(swinging):
    with pytest.raises(JobAborted):
        swinging.run(swinging.job(stop_after=60), states_width=4.0)
    again = swinging.job()
    swinging.run(again, n_states=3, states_width=4.0)
    assert "Going on with the maps of an earlier run." not in again.reports
    assert len(table(again)) == 3


def test_fewer_states_leave_no_maps_of_more_behind(swinging):
    swinging.run(swinging.job(), n_states=3, states_width=4.0)
    swinging.run(swinging.job(), states_at="clusters", n_clusters=2, states_width=4.0)
    assert sorted({path.name[:8] for path in (swinging.project / "DynaMight/job002/states").glob("state0*")}) == [
        "state001",
        "state002",
    ]


def test_listed_particles_of_the_other_half_and_states_outside_the_data_are_named(swinging, monkeypatch):
    first, other = (int(swinging.forward.halves[half].rows[0]) + 1 for half in (1, 2))
    (swinging.project / "particles.txt").write_text(f"{first}\n{other}\n")
    (swinging.project / "latents.txt").write_text("2.5\n")
    values = {"fn_star": swinging.forward.star_file, "states_at": "listed", "particles_file": "particles.txt"}
    monkeypatch.chdir(swinging.project)
    said = " ".join(task.check({**values, "latents_file": "latents.txt"}, swinging.job().directory))
    assert f"1: particle {first}; 2: latent 1" in said
    assert "1 particle(s) of particles.txt belong to half 2 and are left out." in said
    assert "Outside the data, where no particle is near: latent 1." in said


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"halfset": 0}, "halfset is 0; give 1 or 2"),
        ({"states_at": "listed"}, "No list of states is given; name one in particles_file, latents_file or states_file"),
        ({"states_motion": 9}, "Motion 9 was asked for"),
        ({"fn_star": "other.star"}, "was trained on External/job001/particles.star"),
        ({"states_at": "listed", "states_file": "nowhere.star"}, "nowhere.star"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(swinging, values, sentence):
    with pytest.raises(UserError, match=sentence):
        swinging.run(swinging.job(), **values)


def test_a_disk_without_room_for_sums_and_maps_is_refused_before_any_work(swinging, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10**5))
    job = swinging.job()
    with pytest.raises(UserError, match=r"bins take .* in .*states/, and \d+ maps .* the disk has room for 0\.0 GB; make room"):
        swinging.run(job)
    monkeypatch.chdir(swinging.project)
    with pytest.raises(UserError, match="the disk has room"):
        task.check({"fn_star": swinging.forward.star_file}, job.directory)
    assert not (job.directory / "states").exists()


def test_a_list_of_another_half_set_is_refused(swinging):
    path = list_of_states(swinging, swinging.project / "list.star", (0.1,))
    text = path.read_text().replace("_motion1_A", "_motion9_A")
    path.write_text(text)
    with pytest.raises(UserError, match=r"list\.star.*no column _motion1_A"):
        swinging.run(swinging.job(), states_at="listed", states_file="list.star")
