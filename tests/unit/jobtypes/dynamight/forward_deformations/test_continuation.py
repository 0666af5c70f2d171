"""Going on with a training: which options may change, and another STAR file of the same particles."""

from __future__ import annotations

import contextlib
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import torch

from jobtypes.common.particles import read_particles
from jobtypes.dynamight.forward_deformations.checkpointing import load_last
from jobtypes.dynamight.forward_deformations.task import run
from jobtypes.dynamight.model import control_points
from jobtypes.dynamight.model.result import load_centred_result
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
    forward = load_centred_result(JOB)
    assert (forward.box, forward.star_file) == (48, "Polish/unbinned.star")
    for half, part in forward.halves.items():
        state = before["halves"][half]
        kept = len(part.rows)
        assert np.array_equal(part.rows, state["rows"][:kept].numpy())
        assert np.array_equal(part.held_out, state["held_out"][:kept].numpy())
        moved = part.model.field.branch[0].weight - state["model"]["field.branch.0.weight"]
        assert moved.abs().max() < 0.02  # an epoch of small steps away from what was learned, not a new start
        scale = float(part.model.gaussians.log_scale - state["model"]["gaussians.log_scale"])
        assert scale == pytest.approx(np.log(3), abs=0.1)  # padding leaves Fourier terms as they are, but for the factor 3
    table = read_particles(JOB / "forward_deformations/particles.star")
    assert len(table) == 44


def test_what_was_learned_of_the_molecule_stays_with_other_images_of_it(new_job, values, other_star):
    run(values(), new_job())
    path = JOB / "forward_deformations/checkpoints/checkpoint_final.pth"
    saved = torch.load(path, weights_only=True)
    for half in (1, 2):
        saved["contents"]["halves"][half] |= {"learned_stiffness": 3.0 + half, "is_retraced": True}
    torch.save(saved, path)
    run(values(fn_map="other_map.mrc", extra=OTHER), new_job(is_continue=True))
    for half, state in load_last(JOB)["halves"].items():
        assert (state["learned_stiffness"], state["is_retraced"]) == (3.0 + half, True)  # too few are held out to learn it anew


def test_a_training_keeps_the_control_points_that_it_was_seeded_with(new_job, values, monkeypatch):
    with pytest.raises(JobAborted):
        run(values(), new_job(stop_after=40))
    name = "field.trunk.levels.2.points"
    before = load_last(JOB)["halves"][1]["model"][name]
    monkeypatch.setattr(control_points, "SPACINGS_ANGSTROMS", (26.0, 13.0, 5.0))  # as where rounding leads to other ones
    run(values(), new_job(is_continue=True))
    assert load_last(JOB)["finished"]
    assert torch.equal(load_last(JOB)["halves"][1]["model"][name], before)


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
    with pytest.raises(UserError, match="only do_preload, gpu_id, nr_threads, particle_path_prefix may change") as error:
        run(values(extra="--n-latent-dimensions 3"), new_job(is_continue=True))
    assert "n_latent_dimensions is '3'" in str(error.value)
    assert FREE_ON_RESUME < FREE_ON_OTHER_PARTICLES


@pytest.mark.parametrize("way", ["./{}", "{project}/{}", "folder/../{}", "link_of_{}"])
def test_a_training_goes_on_with_its_files_under_other_names(new_job, values, project, way):
    with pytest.raises(JobAborted):
        run(values(), new_job(stop_after=9))
    (project / "folder").mkdir()
    for name in ("particles.star", "map.mrc"):
        (project / f"link_of_{name}").symlink_to(name)
    star, volume = (way.format(name, project=project) for name in ("particles.star", "map.mrc"))
    job = new_job(is_continue=True, stop_after=9)
    with pytest.raises(JobAborted):
        run(values(fn_star=star, fn_map=volume), job)
    assert not any("matched by" in sentence for sentence in job.reports)
    assert not (JOB / "previous_001").exists()


def write_mask(path: Path, box: int, pixel_size_angstroms: float) -> None:
    """The half of the box with positive x may move."""
    axis = (np.arange(box) - box // 2) * pixel_size_angstroms
    mrcfile.write(
        path, np.broadcast_to((axis > 0).astype(np.float32), (box,) * 3), voxel_size=pixel_size_angstroms, overwrite=True
    )


def test_another_mask_is_refused_as_long_as_the_images_are_the_same(new_job, values, project):
    write_mask(project / "mask.mrc", 24, 4.0)
    write_mask(project / "other_mask.mrc", 24, 4.0)
    for finished in (False, True):
        with contextlib.nullcontext() if finished else pytest.raises(JobAborted):
            run(values(extra="--mask-file mask.mrc"), new_job(is_continue=finished, stop_after=10**9 if finished else 9))
        before = load_last(JOB)["identity"]
        for changed, mask in (("'other_mask.mrc'", "--mask-file other_mask.mrc"), ("empty", "")):
            with pytest.raises(UserError, match=rf"fn_mask is {changed}, but the .* was made with 'mask.mrc'; .*new job"):
                run(values(extra=mask), new_job(is_continue=True))
        mrcfile.write(project / "mask.mrc", np.ones((24, 24, 24), np.float32), voxel_size=4.0, overwrite=True)
        if not finished:
            with pytest.raises(UserError, match=r"contents of mask.mrc \(option fn_mask\) are not those"):
                run(values(extra="--mask-file mask.mrc"), new_job(is_continue=True))
        write_mask(project / "mask.mrc", 24, 4.0)
        assert load_last(JOB)["identity"] == before


def test_a_mask_that_comes_with_other_images_is_applied_and_one_that_is_left_out_is_not(new_job, values, other_star, project):
    run(values(), new_job())
    write_mask(project / "mask.mrc", 24, 4.0)
    with pytest.raises(UserError, match=r"fn_mask is 'mask.mrc', but the training .* was made without one;"):
        run(values(extra="--mask-file mask.mrc"), new_job(is_continue=True))
    with pytest.raises(UserError, match=r"mask.mrc.*box"):
        run(values(fn_map="other_map.mrc", extra=f"{OTHER} --mask-file mask.mrc"), new_job(is_continue=True))
    write_mask(project / "mask.mrc", 48, 2.0)
    run(values(fn_map="other_map.mrc", extra=f"{OTHER} --mask-file mask.mrc"), new_job(is_continue=True))
    for part in load_centred_result(JOB).halves.values():
        positions = part.model.gaussians.positions
        moved = part.model.displacement(part.latent_mean).norm(dim=2).amax(0)
        assert float(moved[positions[:, 0] < -4].max()) == 0
        assert float(moved[positions[:, 0] > 4].max()) > 0
    run(values(), new_job(is_continue=True))  # back to the first images, which have no mask
    assert all(part.model.field.mask.numel() == 0 for part in load_centred_result(JOB).halves.values())
