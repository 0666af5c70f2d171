"""The simulation against RELION's own projector and reconstruction (Debian's relion 3.1.3)."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from jobtypes.common import fourier
from jobtypes.common.volumes import read_volume, write_volume
from jobtypes.simulate import dataset
from jobtypes.simulate.files import write_particles_star, write_stack
from jobtypes.simulate.options import SimulationOptions
from jobtypes.simulate.reconstruct import SliceInsertion

pytestmark = [
    pytest.mark.relion,
    pytest.mark.skipif(shutil.which("relion_project") is None, reason="relion_project is not on PATH"),
]

OPTIONS = SimulationOptions(nr_particles=300, box_size=48, angpix=4.0, core_mass=40, nr_motions=0, snr=2.0, shift_range=3)


@pytest.fixture(scope="module")
def simulated(tmp_path_factory) -> tuple[Path, dataset.ImageMaker]:
    """A project with 300 images of a rigid molecule, noise-free, and its true map."""
    project = tmp_path_factory.mktemp("relion")
    particles = dataset.draw_particles(OPTIONS)
    maker = dataset.ImageMaker(OPTIONS, dataset.draw_model(OPTIONS), particles)
    maker.calibrate()
    images = fourier.irfft2(maker.signals(slice(0, 300))[0], 48)
    write_stack(project / "a.mrcs", images.numpy(), OPTIONS.angpix, float16=False)
    write_volume(project / "truth.mrc", maker.renderer.volume(maker.halfway), OPTIONS.angpix)
    names = [f"{row:06d}@a.mrcs" for row in range(1, 301)]
    write_particles_star(
        project / "p.star",
        names,
        poses=particles.true,
        optics=particles.optics,
        half=particles.half,
        box=48,
        pixel_size_angstroms=OPTIONS.angpix,
    )
    return project, maker


def relion(project: Path, *words: str) -> None:
    done = subprocess.run(words, cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def read_stack(path: Path, count: int, box: int) -> torch.Tensor:
    pixels = np.frombuffer(path.read_bytes()[1024:], dtype="<f4").reshape(-1, box, box)[:count]
    return torch.from_numpy(pixels.copy())


def test_images_agree_with_relion_project_in_pose_shift_ctf_and_scale(simulated):
    project, maker = simulated
    relion(project, *["relion_project", "--i", "truth.mrc", "--ang", "p.star", "--ctf", "--angpix", "4", "--o", "theirs"])
    theirs = fourier.rfft2(read_stack(project / "theirs.mrcs", 300, 48))
    ours = maker.signals(slice(0, 300))[0]
    shells, weights = fourier.shells_2d(48), fourier.half_plane_weights(48, 2)
    # relion_project keeps to a circle and interpolates: compared where both have signal
    part = (shells < 22) * weights
    product = (part * (ours * theirs.conj()).real).sum((1, 2))
    norms = [(part * spectra.abs() ** 2).sum((1, 2)) for spectra in (ours, theirs)]
    assert float((product / (norms[0] * norms[1]).sqrt()).min()) > 0.995
    torch.testing.assert_close(product / norms[1], torch.ones(300), atol=0.02, rtol=0)


def test_the_rigid_map_agrees_with_relion_reconstruct(simulated):
    project, maker = simulated
    relion(project, *["relion_reconstruct", "--i", "p.star", "--ctf", "--o", "theirs.mrc"])
    theirs = read_volume(project / "theirs.mrc").data
    insertions = {half: SliceInsertion(48) for half in (1, 2)}
    dataset.insert(insertions, maker, slice(0, 300), (fourier.irfft2(maker.signals(slice(0, 300))[0], 48),))
    insertions[1].sums += insertions[2].sums
    ours, truth = insertions[1].volume(0), read_volume(project / "truth.mrc").data
    assert float(fourier.fsc(ours, theirs)[1:20].min()) > 0.97
    for volume in (ours, theirs):
        assert float(fourier.fsc(volume, truth)[1:20].min()) > 0.97
    shells, a, b = fourier.shells_3d(48), fourier.rfft3(ours), fourier.rfft3(theirs)
    scale = fourier.shell_average((a * b.conj()).real, shells) / fourier.shell_average(b.abs() ** 2, shells)
    torch.testing.assert_close(scale[2:20], torch.ones(18), atol=0.05, rtol=0)
