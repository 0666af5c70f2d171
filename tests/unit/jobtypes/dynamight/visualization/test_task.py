from __future__ import annotations

from pathlib import Path

import mrcfile
import numpy as np
import pytest
import starfile
import torch

from jobtypes.common.particles import read_particles
from jobtypes.common.volumes import read_volume, write_volume
from jobtypes.dynamight.model.result import load_centred_result
from jobtypes.dynamight.visualization import animation, drawn_movie, figures, task, to_files
from jobtypes.dynamight.visualization.session import Session
from relion_jobs.contract.errors import UserError

FOLDER = Path("DynaMight/job002/visualization")
SMALL = {"headless": True, "halfset": 1, "n_motions": 1, "n_frames": 3, "n_clusters": 2, "n_regions": 2}


@pytest.fixture(autouse=True)
def _small_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawn_movie, "ANIMATION_PIXELS", 100)
    monkeypatch.setattr(drawn_movie, "LEAST_PICTURES", 3)
    monkeypatch.setattr(animation, "find_spec", lambda name: None)  # no MP4
    monkeypatch.setattr(figures, "_PIXELS", 60)


@pytest.fixture
def _no_logbook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(to_files, "gather_logbook", lambda *arguments: None)
    monkeypatch.setattr(to_files, "show_in_page", lambda *arguments: None)


def files_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_everything_is_written_and_registered(flexible_job) -> None:
    task.run(SMALL, flexible_job)
    assert files_in(FOLDER) == {
        "explore.html",
        "figures/01_latents_half1.png",
        "figures/01_latents_more_half1.png",
        "figures/01_populations_half1.png",
        "figures/02_gaussians.png",
        "figures/03_displacements.png",
        "figures/04_motion01_half1.png",
        "figures/05_clusters_half1.png",
        "gaussians_half1.pdb",
        "landscape_half1.star",
        "particles_half1.star",
        "regions_half1.star",
        "states_half1.star",
    }
    job = FOLDER.parent
    assert files_in(job / "maps") == {"map001_half1.mrc", "map002_half1.mrc"}
    series = {f"movie01_half1/volume00{i}.mrc" for i in range(3)}
    assert files_in(job / "movies") == series | {f"movie01_half1/{name}" for name in ("animation.gif", "motion.bild", "play.cxc")}
    maps = {name for name, label in flexible_job.outputs.items() if label.startswith("DensityMap")}
    assert maps == {
        f"{job}/{name}" for name in ("maps/map001_half1.mrc", "maps/map002_half1.mrc", "movies/movie01_half1/volume000.mrc")
    }
    assert sorted(set(flexible_job.outputs.values())) == [
        "DensityMap.mrc.relion.dynamight",
        "LogFile.html.relion.dynamight",
        "LogFile.pdf.relion.dynamight",
        "ParticleGroupMetadata.star.relion.dynamight",
    ]
    assert "As asked for, states are written to files" in " ".join(flexible_job.reports)


@pytest.mark.usefixtures("_no_logbook")
def test_without_a_display_files_are_written_and_the_log_says_why(flexible_job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task, "why_no_window", lambda: "There is no display.")
    task.run(SMALL | {"headless": False}, flexible_job)
    assert any(line.startswith("There is no display; states are written to files") for line in flexible_job.reports)


@pytest.mark.usefixtures("_no_logbook")
def test_a_second_run_replaces_what_the_first_wrote_and_nothing_else(flexible_job) -> None:
    task.run(SMALL, flexible_job)
    by_hand = FOLDER.parent / "maps" / "map007_half1.mrc"
    by_hand.write_bytes(b"saved in the window")
    task.run(SMALL | {"n_clusters": 1, "n_motions": 0}, flexible_job)
    assert files_in(FOLDER.parent / "maps") == {"map007_half1.mrc", "map008_half1.mrc"}
    assert not (FOLDER.parent / "movies" / "movie01_half1").exists()


@pytest.mark.usefixtures("_no_logbook")
def test_states_are_drawn_with_and_without_the_parts_that_some_particles_lack(job_with_parts) -> None:
    task.run(SMALL, job_with_parts)
    listed = starfile.read(FOLDER / "states_half1.star").set_index("state")["file"]
    whole, without = (read_volume(FOLDER.parent / listed[name]).data for name in ("all parts", "without part 1"))
    assert (FOLDER / "figures/08_parts_half1.png").is_file()
    part = load_centred_result(job_with_parts.directory).halves[1]
    amplitudes = part.model.gaussians.amplitudes
    share = float(amplitudes[part.model.parts.membership[0] > 0].sum() / amplitudes.sum())
    assert float(1 - without.sum() / whole.sum()) == pytest.approx(share, rel=0.1)


def test_a_listed_particle_is_drawn_without_what_it_lacks(job_with_parts) -> None:
    Path("list.txt").write_text("1\n3\n")  # the first two of half 1, of which the first lacks the part
    task.run(SMALL | {"particles_file": "list.txt"}, job_with_parts)
    listed = starfile.read(FOLDER / "states_half1.star").set_index("state")["file"]
    first, second = (float(read_volume(FOLDER.parent / listed[f"particle {number}"]).data.sum()) for number in (1, 3))
    assert first < 0.9 * second


def test_listed_particles_and_latents_become_maps_and_a_movie(flexible_job, forward) -> None:
    Path("numbers.txt").write_text("1\n3\n2\n")  # the second particle of the file is of half 2
    Path("latents.txt").write_text("# two numbers\n0.1, -0.2\n90 90\n")
    listed = {"particles_file": "numbers.txt", "latents_file": "latents.txt", "do_trajectory": True, "n_motions": 0}
    task.run(SMALL | listed, flexible_job)
    rows = starfile.read(FOLDER / "states_half1.star").to_numpy().tolist()
    assert [row[1] for row in rows[2:6]] == ["particle 1", "particle 3", "latent 1", "latent 2"]
    assert [row[2] for row in rows[2:6]] == ["no", "no", "no", "yes"]
    session = Session(flexible_job.directory, forward, 1)
    with mrcfile.open(FOLDER.parent / rows[3][0]) as file:
        assert np.allclose(file.data, session.state_map(session.coordinates[1]).numpy(), atol=1e-6)
    assert [row[1] for row in rows[6:]] == ["trajectory, 1 of 3", "trajectory, 2 of 3", "trajectory, 3 of 3"]
    assert "1 particle(s) of numbers.txt belong to half 2" in " ".join(flexible_job.warnings)
    assert "Outside the data, where no particle tells what the molecule does: latent 2" in " ".join(flexible_job.warnings)
    assert "The movie along trajectory leaves the data" in " ".join(flexible_job.warnings)


@pytest.mark.usefixtures("_no_logbook")
def test_particles_may_be_listed_by_a_star_file_of_one_half(flexible_job) -> None:
    task.run(SMALL | {"n_motions": 0}, flexible_job)
    listed = {"particles_file": str(FOLDER / "particles_half1.star"), "n_motions": 0}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jobtypes.dynamight.visualization.given_states.MOST_STATES", 29)
        with pytest.raises(UserError, match="names 30 states"):
            task.run(SMALL | listed, flexible_job)


@pytest.mark.parametrize(
    ("option", "text", "sentence"),
    [
        ("particles_file", "", "is empty"),
        ("particles_file", "61\n", "line 1 is '61'; expected the number of a particle, from 1 to 60"),
        ("particles_file", "2\n4\n", "names no particle of half 1"),
        ("latents_file", "1 2 3\n", "line 1 has 3 values; expected 2"),
        ("latents_file", "1 x\n", "line 1 holds 'x'; expected a number"),
        ("latents_file", "1 2\n" * 201, "names 201 states"),
    ],
)
def test_bad_lists_are_refused_in_words(flexible_job, option: str, text: str, sentence: str) -> None:
    Path("list.txt").write_text(text)
    with pytest.raises(UserError, match=sentence):
        task.run(SMALL | {option: "list.txt"}, flexible_job)


@pytest.mark.usefixtures("_no_logbook")
def test_the_maps_of_a_motion_are_its_states(flexible_job, forward) -> None:
    task.run(SMALL, flexible_job)
    session = Session(flexible_job.directory, forward, 1)
    expected = session.state_map(session.traversal(0, 3)[2])
    with mrcfile.open(FOLDER.parent / "movies/movie01_half1/volume002.mrc") as file:
        assert float(file.voxel_size.x) == 4.0
        assert np.allclose(file.data, expected.numpy(), atol=1e-6)


@pytest.mark.usefixtures("_no_logbook")
def test_a_deformed_reconstruction_is_preferred_to_gaussians(flexible_job, forward) -> None:
    consensus = Session(flexible_job.directory, forward, 1).gaussians.state(torch.zeros(3))
    for half in (1, 2):
        write_volume(flexible_job.directory / "backprojection" / f"map_half{half}.mrc", consensus, 4.0)
    task.run(SMALL, flexible_job)
    assert any("deformed reconstruction of half 1" in line for line in flexible_job.reports)


def test_half_set_0_compares_both_halves_on_held_out_particles(flexible_job) -> None:
    task.run({"headless": True, "halfset": 0}, flexible_job)
    assert (FOLDER / "figures" / "06_disagreement.png").is_file()
    assert (FOLDER / "disagreement.json").is_file()
    assert len(read_particles(FOLDER / "particles_half0.star")) == 10
    assert any(line.startswith("Held-out particles of half 2: the two models disagree by") for line in flexible_job.reports)


def test_the_plan_says_what_is_drawn(flexible_job) -> None:
    plan = " ".join(task.check({"halfset": 2}, flexible_job.directory))
    assert "half 2, 2 main motions of 11 states each, 4 clusters of particles" in plan


def test_a_checkpoint_of_another_job_is_refused(flexible_job) -> None:
    Path("DynaMight/job003").mkdir()
    with pytest.raises(UserError, match="belongs to another job"):
        task.check(
            {"fn_checkpoint": "DynaMight/job002/forward_deformations/checkpoints/checkpoint_final.pth"}, Path("DynaMight/job003")
        )
