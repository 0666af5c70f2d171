from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from jobtypes.dynamight.export import main, write_export
from jobtypes.dynamight.model.result import load_centred_result
from relion_jobs.contract.errors import UserError
from tests.trained_job import write_particles


def load(folder: Path, half: int) -> dict[str, np.ndarray]:
    names = ("latent", "index", "points", "weights", "disp", "disp_index")
    return {name: np.load(folder / f"{name}_half{half}.npy") for name in names}


def test_files_hold_the_checkpoint(forward, tmp_path: Path) -> None:
    part = forward.halves[2]
    write_export(part, tmp_path / "out", n_particles=7, seed=3)
    files = load(tmp_path / "out", 2)
    assert np.array_equal(files["index"], np.arange(1, 60, 2))
    assert np.array_equal(files["latent"], part.latent_mean.numpy())
    assert np.array_equal(files["points"], part.model.gaussians.positions.numpy())
    assert np.allclose(files["weights"], part.model.gaussians.amplitudes.numpy())
    assert files["disp"].shape == (7, 150, 3)
    assert files["disp"].dtype == np.float32


def test_displacements_belong_to_the_rows_named(forward, tmp_path: Path) -> None:
    part = forward.halves[1]
    write_export(part, tmp_path, n_particles=5)
    files = load(tmp_path, 1)
    particles = [list(part.rows).index(row) for row in files["disp_index"]]
    expected = part.model.displacement(part.latent_mean[torch.tensor(particles)])
    assert np.allclose(files["disp"], expected.numpy(), atol=1e-5)
    assert len(set(files["disp_index"])) == 5


def test_occupancies_are_by_the_numbers_of_both_halves(job_with_parts, tmp_path: Path) -> None:
    forward = load_centred_result(job_with_parts.directory)
    write_export(forward.halves[1], tmp_path, n_particles=5, part_numbers=[1, 2])
    occupancy = np.load(tmp_path / "occupancy_half1.npy")
    assert occupancy[:3, 0] == pytest.approx([0.05, 0.95, 0.95])
    assert occupancy[:, 1].tolist() == [1.0] * 30  # a part that only the other half has found
    write_export(forward.halves[1], tmp_path, n_particles=5)
    assert np.load(tmp_path / "occupancy_half1.npy").shape == (30, 0)


def test_the_draw_is_seeded(forward, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_export(forward.halves[1], tmp_path / name, n_particles=5, seed=seed)
    a, b, c = (load(tmp_path / name, 1)["disp_index"].tolist() for name in "abc")
    assert a == b != c


def test_fewer_than_500_particles_are_all_taken(forward, tmp_path: Path) -> None:
    write_export(forward.halves[1], tmp_path)
    assert len(load(tmp_path, 1)["disp"]) == 30


def test_too_many_particles_are_refused(forward, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--particles is 31, but half 1 has 30 particles"):
        write_export(forward.halves[1], tmp_path, n_particles=31)


def test_the_tool_runs_from_any_directory(project, build_checkpoint, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (project.path / "map.mrc").touch()
    project.new("dynamight", "-o", "fn_star=parts.star", "-o", "fn_map=map.mrc")
    (project.path / "DynaMight/job001").rename(project.path / "DynaMight/job002")
    write_particles(project.path, n_particles=60, box=24, pixel_size_angstroms=4.0)
    build_checkpoint(project.path)
    (project.path / "DynaMight/job002").rename(project.path / "DynaMight/job001")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert main([str(project.path / "DynaMight/job001"), "--output", "numbers", "--particles", "3"]) == 0
    assert load(elsewhere / "numbers", 2)["disp"].shape == (3, 150, 3)
    assert Path.cwd() == elsewhere
