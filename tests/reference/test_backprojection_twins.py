"""The reconstruction against slow obvious twins in float64 and against relion_reconstruct."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import torch
from torch import Tensor

from jobtypes.common.ctf import ctf
from jobtypes.common.fourier import convolve_padded, frequencies_2d, fsc, irfft2, rfft2, shift_phases
from jobtypes.common.masks import raised_cosine
from jobtypes.common.particles import read_particles
from jobtypes.common.rotations import euler_matrices
from jobtypes.dynamight.backprojection.normal_equations import Reconstruction, TotalSums
from jobtypes.dynamight.backprojection.slices import SliceGrid, SlicePlane
from jobtypes.dynamight.backprojection.warp import Identity

BOX, PIXEL = 16, 3.0


class OneBin:
    def __init__(self, grid: SliceGrid) -> None:
        self.sums = grid.numerator(), grid.kernel()

    def __len__(self) -> int:
        return 1

    def numerator(self, m: int) -> Tensor:
        return self.sums[0]

    def kernel(self, m: int) -> Tensor:
        return self.sums[1]


def views(n: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    angles = torch.rand(n, 3, generator=generator, dtype=torch.float64) * 360 - 180
    angles[:, 1] = torch.rad2deg(torch.acos(torch.rand(n, generator=generator, dtype=torch.float64) * 2 - 1))
    return euler_matrices(angles)


def exact_plane_waves(plane: SlicePlane, rotations: Tensor) -> Tensor:
    """exp(+2 pi i q.x / N) of every Fourier pixel of every view at every voxel, (b q, N^3) complex128."""
    q = (plane.cycles.double() / 2 @ rotations).reshape(-1, 3)
    axis = torch.arange(BOX, dtype=torch.float64) - BOX // 2
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    places = torch.stack((x, y, z), dim=-1).reshape(-1, 3)
    return torch.exp(2j * torch.pi / BOX * (q @ places.T))


@pytest.fixture(scope="module")
def twin():
    plane, rotations = SlicePlane(BOX), views(12)
    generator = torch.Generator().manual_seed(1)
    data = torch.randn(12, len(plane), dtype=torch.complex128, generator=generator)
    weights = torch.rand(12, len(plane), dtype=torch.float64, generator=generator)
    grid = SliceGrid(plane)
    grid.insert(data.to(torch.complex64), weights.float(), rotations.float())
    waves = exact_plane_waves(plane, rotations)
    return plane, grid, waves, (data * plane.weights).flatten(), (weights * plane.weights).flatten()


def central_ball(radius: float) -> Tensor:
    axis = torch.arange(BOX) - BOX // 2
    return (axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2) <= radius**2


def test_the_numerator_is_the_sum_of_plane_waves_within_two_percent_in_the_molecule(twin):
    _, grid, waves, data, _ = twin
    exact = (waves.T @ data).real.reshape(BOX, BOX, BOX)
    ours = grid.numerator().double() * (2 * BOX) ** 3
    ball = central_ball(BOX / 4)
    assert float((ours - exact)[ball].norm() / exact[ball].norm()) < 0.02


def test_the_kernel_is_the_exact_normal_operator_within_one_percent_on_a_molecule(twin):
    _, grid, waves, _, weights = twin
    generator = torch.Generator().manual_seed(2)
    volume = torch.randn(BOX, BOX, BOX, generator=generator, dtype=torch.float64) * central_ball(BOX / 4)
    projections = waves.conj() @ volume.flatten().to(torch.complex128)
    exact = (waves.T @ (projections * weights)).real.reshape(BOX, BOX, BOX)
    ours = convolve_padded(volume.float(), grid.kernel()).double() * (2 * BOX) ** 3
    ball = central_ball(BOX / 4)
    assert float((ours - exact)[ball].norm() / exact[ball].norm()) < 0.01


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


def plain_reconstruction(root: Path) -> Tensor:
    """Rigid map of all particles of the project by our own slices and solver."""
    table = read_particles(root / "p.star")
    frequencies = frequencies_2d(table.box, PIXEL)
    images = torch.from_numpy(mrcfile.read(root / "p.mrcs"))
    plane = SlicePlane(table.box)
    transfer = plane.take(ctf(table.ctf_parameters(), frequencies))
    spectra = rfft2(images) * shift_phases(torch.tensor(table.origins_angstroms).float(), frequencies)
    grid = SliceGrid(plane)
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
        grid = SliceGrid(plane)
        rotations = euler_matrices(torch.tensor(table.angles_degrees)).float()[part]
        grid.insert(transfer[part] * plane.take(images[part]), transfer[part].square(), rotations)
        bins.append(OneBin(grid))

    class ManyBins:
        def __len__(self) -> int:
            return len(bins)

        def numerator(self, m: int) -> Tensor:
            return bins[m].numerator(0)

        def kernel(self, m: int) -> Tensor:
            return bins[m].kernel(0)

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
    assert float((low["ours"] * low["truth"].conj()).real.sum() / low["truth"].abs().square().sum()) == pytest.approx(1, abs=0.01)


def rfft_low(volume: Tensor) -> Tensor:
    """Fourier terms of 1 to 6 steps along x and 0 to 6 along y and z."""
    return torch.fft.rfftn(torch.fft.ifftshift(volume.double()))[:7, :7, 1:7]
