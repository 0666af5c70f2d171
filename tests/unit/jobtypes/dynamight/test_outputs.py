from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from jobtypes.common.digests import digest_of_particles
from jobtypes.common.particles import read_particles
from jobtypes.common.rotations import euler_matrices
from jobtypes.dynamight.figures import new_figure, save_figure, write_logbook
from jobtypes.dynamight.model.disagreement import held_out_errors
from jobtypes.dynamight.outputs import (
    gather_logbook,
    rms_of_gaussians,
    write_forward_outputs,
    write_gaussians_pdb,
    write_motion_arrows,
)

HISTORY = [
    {"epoch": e, "half": h, "loss": 5.0 - e, "held_out": 5.0, "rms_motion_angstroms": e, "resolution_angstroms": 8.0 - e // 2}
    for e in range(4)
    for h in (1, 2)
]


def draw(path: Path, title: str, height: float = 2.0) -> Path:
    figure, axes = new_figure(height=height)
    axes[0, 0].plot([0, 1])
    return save_figure(figure, path, title=title, caption="A line. " * 30)


def pages(path: Path) -> int:
    return path.read_bytes().count(b"/Type /Page ") or path.read_bytes().count(b"/Type /Page\n")


def test_a_figure_carries_its_title_and_caption(tmp_path: Path) -> None:
    with Image.open(draw(tmp_path / "a.png", "Loss")) as picture:
        assert picture.info["Title"] == "Loss"
        assert picture.info["Description"].startswith("A line.")


def test_figures_are_the_same_bytes_every_time(tmp_path: Path) -> None:
    assert draw(tmp_path / "a.png", "x").read_bytes() == draw(tmp_path / "b.png", "x").read_bytes()


def test_small_figures_share_a_page_and_tall_ones_have_their_own(tmp_path: Path) -> None:
    small = [draw(tmp_path / f"{i}.png", "small", 2.0) for i in range(2)]
    tall = draw(tmp_path / "tall.png", "tall", 9.0)
    assert pages(write_logbook([*small, tall], tmp_path / "log.pdf", heading="job")) == 2


def test_the_logbook_holds_the_figures_of_all_tasks(flexible_job) -> None:
    assert gather_logbook(flexible_job.directory, flexible_job) is None
    for task in ("backprojection", "visualization"):
        draw(flexible_job.directory / task / "figures" / "01.png", task, 9.0)
    path = gather_logbook(flexible_job.directory, flexible_job)
    assert path is not None
    assert pages(path) == 2
    assert flexible_job.outputs == {str(path): "LogFile.pdf.relion.dynamight"}


def test_gaussians_stand_in_the_columns_of_the_pdb_format(tmp_path: Path) -> None:
    """Columns of wwPDB's format 3.3: x 31-38, y 39-46, z 47-54, occupancy 55-60, B 61-66, element 77-78."""
    positions = torch.tensor([[1.0, -2.0, 3.5], [0.0, 0.0, 0.0]])
    write_gaussians_pdb(tmp_path / "g.pdb", positions, torch.tensor([1.0, 4.0]), torch.tensor([2.5, 11.0]), 48.0)
    atoms = [line for line in (tmp_path / "g.pdb").read_text().splitlines() if line.startswith("HETATM")]
    fields = [[float(line[a:b]) for a, b in ((30, 38), (38, 46), (46, 54), (54, 60), (60, 66))] for line in atoms]
    assert fields == [[49.0, 46.0, 51.5, 0.25, 2.5], [48.0, 48.0, 48.0, 1.0, 11.0]]
    assert [line[76:78] for line in atoms] == [" C", " C"]


def test_a_model_of_more_gaussians_than_pdb_has_numbers_is_readable(tmp_path: Path) -> None:
    n = 100_500
    write_gaussians_pdb(tmp_path / "g.pdb", torch.zeros(n, 3), torch.ones(n), torch.ones(n), 0.0)
    assert {len(line) for line in (tmp_path / "g.pdb").read_text().splitlines() if line.startswith("HETATM")} == {78}


def test_arrows_start_at_gaussians_and_show_what_moves(tmp_path: Path) -> None:
    positions, motion = torch.zeros(3, 3), torch.tensor([[0.1, 0, 0], [0, 4.0, 0], [0, 0, 9.0]])
    write_motion_arrows(tmp_path / "m.bild", positions, motion, 10.0)
    arrows = [line.split()[1:7] for line in (tmp_path / "m.bild").read_text().splitlines() if line.startswith(".arrow")]
    assert sorted(arrows) == [["10.00"] * 3 + ["10.00", "10.00", "19.00"], ["10.00"] * 3 + ["10.00", "14.00", "10.00"]]


def test_rms_of_gaussians_is_what_the_displacements_say(forward) -> None:
    part = forward.halves[1]
    moved = part.model.displacement(part.latent_mean)
    slow = (moved - moved.mean(0)).square().sum(2).mean(0).sqrt()
    assert torch.allclose(rms_of_gaussians(part, chunk=40), slow, atol=1e-4)


def test_a_finished_training_leaves_figures_maps_and_particles(flexible_job, forward) -> None:
    write_forward_outputs(forward, HISTORY, flexible_job)
    folder = flexible_job.directory / "forward_deformations"
    assert len(list((folder / "figures").glob("*.png"))) == 5
    assert all((folder / f"consensus_half{half}.mrc").is_file() for half in (1, 2))
    assert read_particles(folder / "particles.star").half.tolist() == [1, 2] * 30
    assert len(flexible_job.outputs) == 4  # two maps, log, particles


def test_particles_keep_their_latents(flexible_job, forward) -> None:
    write_forward_outputs(forward, HISTORY, flexible_job)
    lines = (flexible_job.directory / "forward_deformations" / "particles.star").read_text().splitlines()
    names = [line.split()[0] for line in lines[lines.index("data_particles") :] if line.startswith("_")]
    column = names.index("_rlnDynamightLatent2")
    values = [float(line.split()[column]) for line in lines if "@stack" in line]
    assert np.allclose(values[1::2], forward.halves[2].latent_mean[:, 1].numpy())


def test_particles_tell_their_refined_pose_and_their_held_out_error(flexible_job, forward) -> None:
    write_forward_outputs(forward, [], flexible_job)
    table = read_particles(flexible_job.directory / "forward_deformations" / "particles.star")
    poses = [f"rlnDynamight{name}" for name in ("AngleRot", "AngleTilt", "AnglePsi", "OriginXAngst", "OriginYAngst")]
    columns = table.source["particles"].read(numbers=(*poses, "rlnDynamightHeldOutError"))
    angles = np.stack([columns[name] for name in poses[:3]], axis=1)
    for half, part in forward.halves.items():
        matrices = euler_matrices(torch.from_numpy(angles[part.rows]))
        assert torch.allclose(matrices, part.angles_matrices.double(), atol=1e-5)
        origins = np.stack([columns[name][part.rows] for name in poses[3:]], axis=1)
        assert np.allclose(origins, -part.shifts_angstroms.numpy(), atol=1e-5)
        errors = columns["rlnDynamightHeldOutError"][part.rows]
        assert (errors[part.held_out] == held_out_errors(forward, half)[part.held_out]).all()
        assert errors[part.held_out].min() > 0
        assert (errors[~part.held_out] == -1).all()
    assert np.allclose(table.origins_angstroms, [0.5, -1.5])  # the original pose stays what it was


@pytest.mark.relion
@pytest.mark.skipif(shutil.which("relion_star_handler") is None, reason="needs Debian's relion package")
def test_relion_reads_particles_with_latents(flexible_job, forward) -> None:
    write_forward_outputs(forward, [], flexible_job)
    star = flexible_job.directory / "forward_deformations" / "particles.star"
    command = ["relion_star_handler", "--i", str(star), "--o", "again.star", "--select", "rlnDefocusU", "--minval", "0"]
    subprocess.run(command, check=True, capture_output=True)
    again = read_particles("again.star")
    assert again.half.tolist() == [1, 2] * 30


def test_drawn_halves_are_written_as_they_were_trained(flexible_job, forward) -> None:
    lines = (flexible_job.project / "particles.star").read_text().splitlines()
    lines.remove("_rlnRandomSubset")
    rows = [" ".join(line.split()[:2] + line.split()[3:]) if "@" in line else line for line in lines]
    (flexible_job.project / "particles.star").write_text("\n".join([*rows, ""]))
    trained_on = digest_of_particles(read_particles(flexible_job.project / "particles.star", seed=forward.seed))
    write_forward_outputs(replace(forward, particles_digest=trained_on), [], flexible_job)
    table = read_particles(flexible_job.directory / "forward_deformations" / "particles.star")
    assert table.half_is_given
    assert table.half.tolist() == [1, 2] * 30
