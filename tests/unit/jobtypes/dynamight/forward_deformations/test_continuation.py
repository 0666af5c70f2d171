"""Going on with a training: which options may change, and another STAR file of the same particles."""

from __future__ import annotations

from pathlib import Path

import mrcfile
import numpy as np
import pytest

from jobtypes.common.particles import read_particles
from jobtypes.dynamight.forward_deformations.checkpointing import load_last
from jobtypes.dynamight.forward_deformations.task import run
from jobtypes.dynamight.model.result import load_forward_result
from jobtypes.dynamight.options import FREE_ON_OTHER_PARTICLES, FREE_ON_RESUME
from relion_jobs.contract.errors import JobAborted, UserError

JOB = Path("DynaMight/job001")
OTHER = "--refinement-star-file Polish/unbinned.star"


def unbinned(image: np.ndarray) -> np.ndarray:
    """The same density on a grid twice as fine, in every dimension: its Fourier transform, padded."""
    box, axes = image.shape[-1], tuple(range(-image.ndim, 0))
    spectrum = np.fft.fftshift(np.fft.fftn(np.fft.ifftshift(image, axes=axes)), axes=axes)
    padded = np.pad(spectrum, [(box // 2, box // 2)] * image.ndim)
    fine = np.fft.fftshift(np.fft.ifftn(np.fft.ifftshift(padded, axes=axes)), axes=axes)
    return fine.real.astype(np.float32)


@pytest.fixture
def other_star(project):
    """Write Polish/unbinned.star: images of half the pixel size, three times as strong; and other_map.mrc."""
    (project / "Polish").mkdir()
    with mrcfile.open(project / "particles.mrcs") as file:
        images = np.stack([3 * unbinned(image) for image in file.data])
    with mrcfile.open(project / "map.mrc") as file:
        volume = unbinned(file.data)
    for name, data in (("Polish/particles.mrcs", images), ("other_map.mrc", volume)):
        with mrcfile.new(project / name) as file:
            file.set_data(data)
            file.voxel_size = 2.0
    text = (project / "particles.star").read_text().replace("4.0 24\n", "2.0 48\n").replace("@particles", "@Polish/particles")

    def write(change=lambda rows: rows):
        rows = [line for line in text.splitlines() if "@" in line]
        header = [line for line in text.rstrip().splitlines() if "@" not in line]
        (project / "Polish/unbinned.star").write_text("\n".join([*header, *change(rows), ""]))

    write()
    return write


def turned(rows):
    """Other poses for the first ten particles."""
    words = [row.split() for row in rows]
    for row in words[:10]:
        row[1] = f"{float(row[1]) + 2:.4f}"
    return [" ".join(row) for row in words]


def test_a_training_goes_on_with_unbinned_images_of_the_same_particles(new_job, values, other_star):
    run(values(), new_job())
    before = load_last(JOB)
    other_star(lambda rows: turned(rows)[:-4])
    job = new_job(is_continue=True, stop_after=2)
    with pytest.raises(JobAborted):
        run(values(fn_map="other_map.mrc", extra=OTHER), job)
    said = " ".join(job.reports)
    assert "matched by the file names in _rlnImageName" in said
    assert "34 are the same in both files and keep their refinement, the other 10 start anew from unbinned.star" in said
    assert (JOB / "previous_001/forward_deformations/checkpoints/checkpoint_final.pth").is_file()
    job = new_job(is_continue=True)
    run(values(fn_map="other_map.mrc", extra=OTHER), job)  # what was carried over goes on like any other
    assert not (JOB / "previous_002").exists()
    forward = load_forward_result(JOB)
    assert (forward.box, forward.star_file) == (48, "Polish/unbinned.star")
    for half, part in forward.halves.items():
        state = before["halves"][half]
        kept = len(part.rows)
        assert np.array_equal(part.rows, state["rows"][:kept].numpy())
        assert np.array_equal(part.held_out, state["held_out"][:kept].numpy())
        moved = part.model.field.trunk[0].weight - state["model"]["field.trunk.0.weight"]
        assert moved.abs().max() < 0.02  # an epoch of small steps away from what was learned, not a new start
        scale = float(part.model.gaussians.log_scale - state["model"]["gaussians.log_scale"])
        assert scale == pytest.approx(np.log(3), abs=0.1)  # padding leaves Fourier terms as they are, but for the factor 3
    table = read_particles(JOB / "forward_deformations/particles.star")
    assert len(table) == 44


def test_other_particles_are_refused_and_nothing_is_moved(new_job, values, other_star, project):
    run(values(), new_job())
    other_star(lambda rows: rows[::-1])
    (project / "Polish/unbinned.star").write_text(
        (project / "Polish/unbinned.star").read_text().replace("@Polish/particles", "@Polish/p")
    )
    (project / "Polish/particles.mrcs").rename(project / "Polish/p.mrcs")
    with pytest.raises(UserError, match="are others or in another order"):
        run(values(fn_map="other_map.mrc", extra=OTHER), new_job(is_continue=True))
    with pytest.raises(UserError, match=r"map.mrc.*box"):
        run(values(extra=OTHER), new_job(is_continue=True))
    with pytest.raises(UserError, match="of the training's options only"):
        run(values(nr_gaussians="70", extra=OTHER), new_job(is_continue=True))
    (project / "particles.star").rename(project / "gone.star")
    with pytest.raises(UserError, match=r"particles.star.*is not there any more.*put it back"):
        run(values(fn_map="other_map.mrc", extra=OTHER), new_job(is_continue=True))
    assert not (JOB / "previous_001").exists()


def test_what_may_change_is_named(new_job, values):
    with pytest.raises(JobAborted):
        run(values(), new_job(stop_after=9))
    with pytest.raises(UserError, match="only do_preload, gpu_id, nr_threads may change") as error:
        run(values(extra="--n-latent-dimensions 3"), new_job(is_continue=True))
    assert "n_latent_dimensions is '3'" in str(error.value)
    assert FREE_ON_RESUME < FREE_ON_OTHER_PARTICLES
