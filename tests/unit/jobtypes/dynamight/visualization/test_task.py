from __future__ import annotations

from pathlib import Path

import mrcfile
import numpy as np
import pytest
import torch

from jobtypes.common.volumes import write_volume
from jobtypes.dynamight.visualization import figures, task
from relion_jobs.contract.errors import UserError

FOLDER = Path("DynaMight/job002/visualization")
SMALL = {"halfset": 1, "n_motions": 1, "n_frames": 3, "n_clusters": 2, "n_regions": 2}


@pytest.fixture(autouse=True)
def _small_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task, "_ANIMATION_PIXELS", 40)
    monkeypatch.setattr(figures, "_PIXELS", 60)


def test_everything_is_written_and_registered(flexible_job) -> None:
    task.run(SMALL, flexible_job)
    written = {str(path.relative_to(FOLDER)) for path in FOLDER.rglob("*") if path.is_file()}
    assert written == {
        "figures/01_latents_half1.png",
        "figures/02_gaussians.png",
        "figures/03_displacements.png",
        "figures/04_motion01_half1.png",
        "figures/05_clusters_half1.png",
        "gaussians_half1.pdb",
        "maps/cluster01_half1.mrc",
        "maps/cluster02_half1.mrc",
        "motion01_half1/animation.gif",
        "motion01_half1/motion.bild",
        "motion01_half1/play.cxc",
        "motion01_half1/volume000.mrc",
        "motion01_half1/volume001.mrc",
        "motion01_half1/volume002.mrc",
        "particles_half1.star",
        "regions_half1.tsv",
    }
    assert sorted(set(flexible_job.outputs.values())) == [
        "DensityMap.mrc.relion.dynamight",
        "LogFile.pdf.relion.dynamight",
        "ParticleGroupMetadata.star.relion.dynamight",
    ]
    assert "States are written to files" in " ".join(flexible_job.reports)


def test_the_maps_of_a_motion_are_its_states(flexible_job, forward) -> None:
    task.run(SMALL, flexible_job)
    session = task.Session(flexible_job.directory, forward, 1)
    expected = session.state_map(session.traversal(0, 3)[2])
    with mrcfile.open(FOLDER / "motion01_half1" / "volume002.mrc") as file:
        assert float(file.voxel_size.x) == 4.0
        assert np.allclose(file.data, expected.numpy(), atol=1e-6)


def test_a_deformed_reconstruction_is_preferred_to_gaussians(flexible_job, forward) -> None:
    consensus = task.Session(flexible_job.directory, forward, 1).gaussians.state(torch.zeros(3))
    for half in (1, 2):
        write_volume(flexible_job.directory / "backprojection" / f"map_half{half}.mrc", consensus, 4.0)
    task.run(SMALL, flexible_job)
    assert any("deformed reconstruction of half 1" in line for line in flexible_job.reports)


def test_half_set_0_compares_both_halves_on_held_out_particles(flexible_job) -> None:
    task.run({"halfset": 0}, flexible_job)
    assert (FOLDER / "figures" / "06_disagreement.png").is_file()
    assert (FOLDER / "disagreement.json").is_file()
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
