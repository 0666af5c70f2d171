from __future__ import annotations

from pathlib import Path

import mrcfile
import numpy as np
import pytest
import torch

from jobtypes.common.fourier import rfft3, shells_3d
from jobtypes.common.particle_images import ParticleImages
from jobtypes.common.particles import read_particles
from jobtypes.common.resampling import Resampling
from jobtypes.common.rotations import euler_matrices
from jobtypes.dynamight.backprojection.noise import sample_of_groups, shell_powers
from jobtypes.dynamight.backprojection.normal_equations import Reconstruction, TotalSums
from jobtypes.dynamight.backprojection.particle_pass import ParticleViews
from jobtypes.dynamight.backprojection.slices import SliceGrid, SlicePlane

BOX, PIXEL = 24, 3.0


class OneBin:
    def __init__(self, views: ParticleViews) -> None:
        grid, read = SliceGrid(views.plane, views.profile), views.read(np.arange(len(views.rows)))
        grid.insert(read.data, read.weight, read.rotations)
        self.sums = grid.numerator(), grid.weights()

    def __len__(self) -> int:
        return 1

    def numerator(self, m: int) -> torch.Tensor:
        return self.sums[0]

    def weights(self, m: int) -> torch.Tensor:
        return self.sums[1]


def two_groups(root: Path) -> None:
    """Put every other pair of particles into a second optics group."""
    lines = (root / "particles.star").read_text().splitlines()
    optics = next(line for line in lines if line.startswith("1 one "))
    lines.insert(lines.index(optics) + 1, optics.replace("1 one ", "2 two ", 1))
    place = 0
    for number, line in enumerate(lines):
        if "@" in line:
            lines[number] = line.rsplit(" ", 1)[0] + f" {1 + place // 2 % 2}"
            place += 1
    (root / "particles.star").write_text("\n".join(lines) + "\n")


def views_of(root: Path) -> ParticleViews:
    table = read_particles(root / "particles.star")
    rotations = euler_matrices(torch.tensor(table.angles_degrees)).float()
    shifts = -torch.tensor(table.origins_angstroms).float()
    return ParticleViews(ParticleImages(table, root), np.arange(len(table)), rotations, shifts, plane=SlicePlane(BOX))


@pytest.fixture
def project(make_project):
    """200 particles without motion; the noise of group 1 has deviation 0.2, that of group 2 has 2 and is coloured."""
    project = make_project(200, motion=0.0, noise=0.0)
    two_groups(project.root)
    rng = np.random.default_rng(4)
    with mrcfile.open(project.root / "particles.mrcs", "r+") as stack:
        group = np.arange(200) // 2 % 2
        stack.data[group == 0] += 0.2 * rng.standard_normal((100, BOX, BOX)).astype(np.float32)
        white = np.fft.rfft2(2 * rng.standard_normal((100, BOX, BOX)))
        radius = np.hypot(np.fft.fftfreq(BOX)[:, None], np.fft.rfftfreq(BOX))
        stack.data[group == 1] += np.fft.irfft2(white * (1.5 - radius), s=(BOX, BOX)).astype(np.float32)
    return project


def test_the_noise_of_each_group_and_shell_is_found(project):
    views = views_of(project.root)
    power, _ = shell_powers(views, np.arange(200), project.true_map(), batch_size=50)
    shells = torch.arange(2, 11)
    np.testing.assert_allclose(power[0, shells] / (0.2 * BOX) ** 2, 1.0, atol=0.15)
    np.testing.assert_allclose(power[1, shells] / (2 * BOX * (1.5 - shells / BOX)) ** 2, 1.0, atol=0.15)


def test_the_power_of_the_ctf_is_that_of_the_particles_looked_at(project):
    views = views_of(project.root)
    _, found = shell_powers(views, np.arange(3), project.true_map(), batch_size=2)
    squared = views.read(np.arange(3)).transfer.square().mean(0)
    expected = [
        float((squared * views.plane.weights)[inside].sum() / views.plane.weights[inside].sum())
        for inside in (views.plane.shells == shell for shell in range(13))
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_noisy_images_count_less_and_the_map_gets_better(project):
    views, truth = views_of(project.root), project.true_map()
    error = {}
    for name in ("equal", "weighted"):
        if name == "weighted":
            views.set_powers(*shell_powers(views, np.arange(200), truth, batch_size=50))
        sums = OneBin(views)
        found = Reconstruction(sums, TotalSums(sums)).solve(noise_to_signal=torch.full((13,), 0.05)).volume
        error[name] = float((found - truth).norm() / truth.norm())
    assert error["weighted"] < 0.5 * error["equal"]


def test_a_single_group_is_not_weighted_at_all(make_project):
    views = views_of(make_project(20).root)
    before = views.read(np.arange(5))
    views.set_powers(3 * torch.rand(1, 13) + 1, torch.rand(13))
    after = views.read(np.arange(5))
    torch.testing.assert_close(after.data, before.data)
    torch.testing.assert_close(after.weight, before.weight)


def test_the_sample_takes_training_particles_of_every_group(monkeypatch):
    monkeypatch.setattr("jobtypes.dynamight.backprojection.noise._SAMPLE", 2)
    group, train = np.array([0, 0, 0, 0, 2, 2]), np.array([False, True, True, True, True, False])
    assert sample_of_groups(group, train).tolist() == [1, 2, 4]


def join(root: Path, box: int, pixel: float, noise: float) -> None:
    """Bring the images of group 2 of a project of two groups to another grid, and add white noise to all."""
    bring = Resampling(BOX, PIXEL, to_box=box, to_pixel_size_angstroms=pixel, magnification=np.eye(2))
    rng = np.random.default_rng(8)
    stored = mrcfile.read(root / "particles.mrcs")
    second = bring(torch.from_numpy(stored)).numpy()
    for name, images, size in (("particles", stored, PIXEL), ("second", second, pixel)):
        images = images + (noise / size) * rng.standard_normal(images.shape)
        mrcfile.write(root / f"{name}.mrcs", images.astype(np.float32), voxel_size=size, overwrite=True)
    lines = (root / "particles.star").read_text().splitlines()
    for number, line in enumerate(lines):
        if line.startswith("2 two "):
            lines[number] = line.replace(f" {PIXEL} {BOX} ", f" {pixel} {box} ")
        if "@" in line and line.endswith(" 2"):
            lines[number] = line.replace("@particles", "@second")
    (root / "particles.star").write_text("\n".join(lines) + "\n")


GRIDS = {
    "as it is": (24, 3.0),
    "finer": (36, 2.0),
    "coarser": (18, 4.0),
    "longer": (32, 3.0),
    "shorter": (20, 3.0),
    "all": (20, 3.8),
}


@pytest.fixture
def joined(make_project):
    """Make a project of 400 particles without motion, every other pair of which is on another grid."""

    def make(name: str):
        project = make_project(400, motion=0.0, noise=0.0, name=name)
        two_groups(project.root)
        join(project.root, *GRIDS[name], noise=0.5)
        return project

    return make


@pytest.mark.parametrize("name", list(GRIDS)[1:])
def test_a_map_of_joined_groups_is_as_good_as_of_one(joined, name):
    error, held = {}, shells_3d(BOX) < 9  # what images of 4 A per pixel hold of those of 3 A
    for grid in ("as it is", name):
        project = joined(grid)
        views, truth = views_of(project.root), project.true_map()
        views.set_powers(*shell_powers(views, np.arange(400), truth, batch_size=50))
        sums = OneBin(views)
        found = Reconstruction(sums, TotalSums(sums)).solve(noise_to_signal=torch.full((13,), 0.05)).volume
        error[grid] = float(rfft3(found - truth)[held].norm() / rfft3(truth)[held].norm())
    assert error[name] < 1.1 * error["as it is"] + 0.01


def test_terms_that_images_do_not_hold_count_for_nothing(joined):
    views = views_of(joined("coarser").root)
    views.set_powers(*shell_powers(views, np.arange(400), joined("as it is").true_map(), batch_size=50))
    read = views.read(np.arange(8))
    beyond = views.plane.shells > 9  # of 12: Nyquist of 4 A per pixel in 72 A
    second = torch.tensor(views.images.table.optics_group[:8] == 1)
    for terms in (read.transfer, read.weight, read.data.abs(), read.noise_gain):
        assert float(terms[second][:, beyond].abs().max()) == 0
        assert float(terms[~second][:, beyond].abs().max()) > 0
        assert bool(terms.isfinite().all())
    assert bool(views.noise.isfinite().all())
    # and the other group's weight is what it would have alone, for half of the particles
    alone = read.weight[~second][:, beyond] / read.transfer[~second][:, beyond].square()
    torch.testing.assert_close(alone, torch.full_like(alone, 2.0), rtol=0.01, atol=0)


def test_brighter_images_whose_scale_is_known_change_nothing(make_project):
    project = make_project(200, motion=0.0, noise=0.3)
    two_groups(project.root)

    def found(scale: torch.Tensor) -> torch.Tensor:
        views = views_of(project.root)
        views.scale = scale
        views.set_powers(*shell_powers(views, np.arange(200), project.true_map(), batch_size=50))
        sums = OneBin(views)
        return Reconstruction(sums, TotalSums(sums)).solve().volume

    expected, of_second = found(torch.ones(200)), torch.arange(200) // 2 % 2 == 1
    with mrcfile.open(project.root / "particles.mrcs", "r+") as stack:
        stack.data[of_second.numpy()] *= 1.4  # images on very different scales would be brought to one
    known, unknown = (found(torch.where(of_second, scale, 1.0)) for scale in (1.4, 1.0))
    torch.testing.assert_close(known, expected, rtol=0, atol=0.01 * float(expected.abs().max()))
    assert float((unknown - expected).norm()) > 0.1 * float(expected.norm())


def test_an_image_counts_by_its_quality(make_project):
    views = views_of(make_project(20).root)
    before = views.read(np.arange(20))
    views.quality = torch.linspace(0, 1, 20)
    after = views.read(np.arange(20))
    torch.testing.assert_close(after.data, before.data * views.quality[:, None])
    torch.testing.assert_close(after.weight, before.weight * views.quality[:, None])
