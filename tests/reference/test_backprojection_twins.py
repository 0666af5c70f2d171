"""The reconstruction against slow obvious twins in float64 and against relion_reconstruct."""

from __future__ import annotations

import itertools
import shutil
import subprocess
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import torch
from torch import Tensor

from jobtypes.common.ctf import ctf
from jobtypes.common.fourier import frequencies_2d, fsc, irfft2, rfft2, shift_phases
from jobtypes.common.masks import raised_cosine
from jobtypes.common.particles import read_particles
from jobtypes.common.rotations import euler_matrices
from jobtypes.dynamight.backprojection.normal_equations import Reconstruction, TotalSums
from jobtypes.dynamight.backprojection.slices import SliceGrid, SlicePlane, normal_operator
from jobtypes.dynamight.backprojection.warp import Identity

BOX, PIXEL = 16, 3.0


class OneBin:
    def __init__(self, grid: SliceGrid) -> None:
        self.sums = grid.numerator(), grid.weights()

    def __len__(self) -> int:
        return 1

    def numerator(self, m: int) -> Tensor:
        return self.sums[0]

    def weights(self, m: int) -> Tensor:
        return self.sums[1]


def views(n: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    angles = torch.rand(n, 3, generator=generator, dtype=torch.float64) * 360 - 180
    angles[:, 1] = torch.rad2deg(torch.acos(torch.rand(n, generator=generator, dtype=torch.float64) * 2 - 1))
    return euler_matrices(angles)


def plane_waves(places: Tensor) -> Tensor:
    """exp(+2 pi i k.x / 2N) of places (m, 3) in steps of the padded grid at every voxel, (m, N^3) complex128."""
    axis = torch.arange(BOX, dtype=torch.float64) - BOX // 2
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    voxels = torch.stack((x, y, z), dim=-1).reshape(-1, 3)
    return torch.exp(1j * torch.pi / BOX * (places @ voxels.T))


def attenuated(volume: Tensor) -> Tensor:
    """Times what the triangle of one grid step does in real space, (N, N, N)."""
    x = (torch.arange(BOX, dtype=torch.float64) - BOX // 2) * torch.pi / (2 * BOX)
    axis = torch.where(x == 0, 1.0, (x.sin() / torch.where(x == 0, 1.0, x)) ** 2)
    return volume * axis[:, None, None] * axis[:, None] * axis


def density(places: Tensor) -> Tensor:
    """Density of weights at places (m, 3) on the padded grid, where a term of shell s weighs 1 + 2 s and terms lie as 1 / s."""
    radius = places.norm(dim=1) / 2
    return (1 + 2 * radius.clamp_max(BOX // 2)) / radius.clamp_min(1.0)


@pytest.fixture(scope="module")
def twin():
    """Slices of noise in the grid; the eight grid points (m, 3) of each term with its shares (m,); its data and weights (m,)."""
    plane, rotations = SlicePlane(BOX), views(6)
    generator = torch.Generator().manual_seed(1)
    data = torch.randn(6, len(plane), dtype=torch.complex128, generator=generator)
    weights = torch.rand(6, len(plane), dtype=torch.float64, generator=generator)
    grid = SliceGrid(plane, 1.0 + 2 * torch.arange(BOX // 2 + 1))
    grid.insert(data.to(torch.complex64), weights.float(), rotations.float())
    places = (plane.cycles.double() @ rotations).reshape(-1, 3)
    corners = []
    for corner in itertools.product((0.0, 1.0), repeat=3):
        points = places.floor() + torch.tensor(corner, dtype=torch.float64)
        corners.append((points, (1 - (places - points).abs()).prod(1) * density(points) / density(places)))
    return grid, corners, (data * plane.weights).flatten(), (weights * plane.weights).flatten()


def test_the_right_side_is_that_of_terms_which_speak_for_the_eight_grid_points_around_them(twin):
    grid, corners, data, _ = twin
    exact = attenuated(sum((plane_waves(points).T @ (share * data)).real for points, share in corners).view(BOX, BOX, BOX))
    ours = grid.numerator().double() * (2 * BOX) ** 3
    assert float((ours - exact).norm() / exact.norm()) < 1e-5


def test_the_normal_operator_is_that_of_terms_which_speak_for_the_eight_grid_points_around_them(twin):
    grid, corners, _, weights = twin
    volume = torch.randn(BOX, BOX, BOX, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    seen = attenuated(volume).flatten().to(torch.complex128)
    exact = torch.zeros(BOX**3, dtype=torch.float64)
    for points, share in corners:
        waves = plane_waves(points)
        exact += (waves.T @ (share * weights * (waves.conj() @ seen))).real
    exact = attenuated(exact.view(BOX, BOX, BOX))
    ours = normal_operator(volume.float(), grid.weights()).double() * (2 * BOX) ** 3
    assert float((ours - exact).norm() / exact.norm()) < 1e-5


def write_project(root: Path, n: int = 400) -> Tensor:
    """Images of a random molecule by an exact sum over atoms, as a RELION project; return its true map."""
    rng = np.random.default_rng(0)
    box, sigma = 32, 3.0
    atoms = torch.tensor(rng.normal(size=(80, 3)) * 11)
    rotations = views(n, seed=5)
    columns = {name: rng.uniform(low, high, n) for name, low, high in (("rlnDefocusU", 9e3, 15e3), ("rlnDefocusAngle", 0, 180))}
    columns["rlnDefocusV"] = columns["rlnDefocusU"] - 300
    columns |= {"rlnOriginXAngst": rng.uniform(-5, 5, n), "rlnOriginYAngst": rng.uniform(-5, 5, n)}
    from jobtypes.common.rotations import euler_angles

    angles = euler_angles(rotations).numpy()
    columns |= {f"rlnAngle{name}": angles[:, i] for i, name in enumerate(("Rot", "Tilt", "Psi"))}
    columns |= {"rlnOpticsGroup": np.ones(n, int), "rlnRandomSubset": np.arange(n) % 2 + 1}
    optics = ["rlnOpticsGroup", "rlnOpticsGroupName", "rlnImagePixelSize", "rlnImageSize", "rlnVoltage"]
    optics += ["rlnSphericalAberration", "rlnAmplitudeContrast", "rlnImageDimensionality"]
    lines = ["", "# version 30001", "", "data_optics", "", "loop_", *(f"_{name} #{i}" for i, name in enumerate(optics, 1))]
    lines += [
        f"1 one {PIXEL} {box} 300.0 2.7 0.1 2",
        "",
        "",
        "# version 30001",
        "",
        "data_particles",
        "",
        "loop_",
        "_rlnImageName #1",
    ]
    lines += [f"_{name} #{i}" for i, name in enumerate(columns, 2)]
    lines += [" ".join([f"{i + 1:06d}@p.mrcs", *(f"{values[i]:.6g}" for values in columns.values())]) for i in range(n)]
    (root / "p.star").write_text("\n".join([*lines, "", ""]))
    mrcfile.write(root / "p.mrcs", np.zeros((n, box, box), np.float32), voxel_size=PIXEL)
    table = read_particles(root / "p.star")
    frequencies = frequencies_2d(box, PIXEL, dtype=torch.float64)
    xy = torch.einsum("bij,nj->bni", rotations, atoms)[..., :2]
    spectra = torch.stack([torch.exp(-2j * torch.pi * torch.einsum("nd,yxd->nyx", part, frequencies)).sum(0) for part in xy])
    spectra = spectra * torch.exp(-2 * torch.pi**2 * sigma**2 * frequencies.square().sum(-1))
    spectra = spectra * ctf(table.ctf_parameters(dtype=torch.float64), frequencies)
    spectra = spectra * shift_phases(-torch.tensor(table.origins_angstroms), frequencies)
    images = irfft2(spectra, box).numpy() + 0.3 * rng.standard_normal((n, box, box))
    mrcfile.write(root / "p.mrcs", images.astype(np.float32), voxel_size=PIXEL, overwrite=True)
    axis = (torch.arange(box) - box // 2) * PIXEL
    profiles = torch.exp(-((axis[:, None, None] - atoms) ** 2) / (2 * sigma**2)) * PIXEL / (sigma * (2 * torch.pi) ** 0.5)
    return torch.einsum("xa,ya,za->zyx", *(profiles[:, :, a] for a in range(3)))


def profile_of(plane: SlicePlane, transfer: Tensor) -> Tensor:
    """Mean squared CTF of each shell."""
    means = [transfer.square().mean(0)[plane.shells == shell].mean() for shell in range(plane.box // 2 + 1)]
    return torch.stack(means).clamp_min(1e-3)


def plain_reconstruction(root: Path) -> Tensor:
    """Rigid map of all particles of the project by our own slices and solver."""
    table = read_particles(root / "p.star")
    frequencies = frequencies_2d(table.box, PIXEL)
    images = torch.from_numpy(mrcfile.read(root / "p.mrcs"))
    plane = SlicePlane(table.box)
    transfer = plane.take(ctf(table.ctf_parameters(), frequencies))
    spectra = rfft2(images) * shift_phases(torch.tensor(table.origins_angstroms).float(), frequencies)
    grid = SliceGrid(plane, profile_of(plane, transfer))
    grid.insert(transfer * plane.take(spectra), transfer.square(), euler_matrices(torch.tensor(table.angles_degrees)).float())
    sums = OneBin(grid)
    return Reconstruction(sums, TotalSums(sums)).solve(iterations=15).volume


def test_an_identity_deformation_is_the_plain_reconstruction_to_rounding(tmp_path):
    write_project(tmp_path, n=60)
    table_map = plain_reconstruction(tmp_path)
    table = read_particles(tmp_path / "p.star")
    frequencies, plane = frequencies_2d(table.box, PIXEL), SlicePlane(table.box)
    images = rfft2(torch.from_numpy(mrcfile.read(tmp_path / "p.mrcs")))
    images = images * shift_phases(torch.tensor(table.origins_angstroms).float(), frequencies)
    transfer = plane.take(ctf(table.ctf_parameters(), frequencies))
    bins = []
    for part in torch.arange(60).chunk(5):
        grid = SliceGrid(plane, profile_of(plane, transfer))
        rotations = euler_matrices(torch.tensor(table.angles_degrees)).float()[part]
        grid.insert(transfer[part] * plane.take(images[part]), transfer[part].square(), rotations)
        bins.append(OneBin(grid))

    class ManyBins:
        def __len__(self) -> int:
            return len(bins)

        def numerator(self, m: int) -> Tensor:
            return bins[m].numerator(0)

        def weights(self, m: int) -> Tensor:
            return bins[m].weights(0)

    many = ManyBins()
    binned = Reconstruction(many, TotalSums(many), [Identity() for _ in bins]).solve(iterations=15).volume
    torch.testing.assert_close(binned, table_map, rtol=0, atol=2e-4 * float(table_map.abs().max()))


@pytest.mark.relion
@pytest.mark.skipif(shutil.which("relion_reconstruct") is None, reason="relion_reconstruct is not installed")
def test_a_plain_reconstruction_is_as_good_as_that_of_relion_reconstruct(tmp_path):
    truth = write_project(tmp_path)
    command = ["relion_reconstruct", "--i", "p.star", "--o", "relion.mrc", "--ctf"]
    subprocess.run(command, cwd=tmp_path, capture_output=True, check=True)
    relion = torch.from_numpy(mrcfile.read(tmp_path / "relion.mrc"))
    ours = plain_reconstruction(tmp_path)
    axis = torch.arange(32.0) - 16
    distance = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij")).norm(dim=0)
    mask = raised_cosine(distance, 12, 3)  # RELION's map ends at a sphere, ours at the box
    auc = {name: float(fsc(volume, truth, mask)[1:16].mean()) for name, volume in (("ours", ours), ("relion", relion))}
    assert auc["ours"] > auc["relion"] - 0.005
    assert float(fsc(ours, relion, mask)[1:12].min()) > 0.98
    low = {name: rfft_low(volume) for name, volume in (("ours", ours), ("relion", relion), ("truth", truth))}
    assert float((low["ours"] * low["truth"].conj()).real.sum() / low["truth"].abs().square().sum()) == pytest.approx(1, abs=0.02)


@pytest.mark.relion
@pytest.mark.skipif(shutil.which("relion_reconstruct") is None, reason="relion_reconstruct is not installed")
@pytest.mark.parametrize("n", [2, 3, 10, 30, 100])
def test_a_map_of_few_particles_is_no_worse_than_that_of_relion_reconstruct(tmp_path, n):
    truth = write_project(tmp_path, n).float()
    command = ["relion_reconstruct", "--i", "p.star", "--o", "relion.mrc", "--ctf"]
    subprocess.run(command, cwd=tmp_path, capture_output=True, check=True)
    distance = torch.stack(torch.meshgrid(*[torch.arange(32.0) - 16] * 3, indexing="ij")).norm(dim=0)
    mask = raised_cosine(distance, 12, 3)
    maps = (plain_reconstruction(tmp_path), torch.from_numpy(mrcfile.read(tmp_path / "relion.mrc")))
    ours, relion = (
        float(torch.corrcoef(torch.stack(((volume * mask).flatten(), (truth * mask).flatten())))[0, 1]) for volume in maps
    )
    assert ours > relion - 0.001


def rfft_low(volume: Tensor) -> Tensor:
    """Fourier terms of 1 to 6 steps along x and 0 to 6 along y and z."""
    return torch.fft.rfftn(torch.fft.ifftshift(volume.double()))[:7, :7, 1:7]
