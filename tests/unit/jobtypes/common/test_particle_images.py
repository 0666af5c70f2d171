from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import mrcfile
import numpy as np
import pytest
import torch

from jobtypes.common import image_stacks, particle_images
from jobtypes.common.fourier import frequencies_2d, irfft2, rfft2
from jobtypes.common.image_stacks import OpenStacks
from jobtypes.common.particle_images import ParticleImages
from jobtypes.common.particles import read_particles
from jobtypes.common.resampling import Resampling
from relion_jobs.contract.errors import UserError
from tests.unit.jobtypes.common.conftest import write_stack

Write = Callable[..., Path]
Stacks = dict[str, np.ndarray]


@pytest.fixture
def images(write_star: Write, stacks: Stacks, tmp_path: Path) -> ParticleImages:
    return ParticleImages(read_particles(write_star()), tmp_path)


def test_images_come_in_the_order_asked_for(images: ParticleImages, stacks: Stacks) -> None:
    images.verify()
    read = images.read([6, 0, 6, 3])
    expected = [stacks["stack_b.mrcs"][2], stacks["stack_a.mrcs"][0], stacks["stack_b.mrcs"][2], stacks["stack_a.mrcs"][3]]
    assert np.array_equal(read.numpy(), np.stack(expected))
    assert read.dtype == torch.float32


def test_stacks_are_found_from_any_working_directory(
    images: ParticleImages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path / "Refine3D")
    assert images.read([0]).shape == (1, 12, 12)


@pytest.mark.parametrize("dtype", ["i1", "i2", "u2", "f2", "f4"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_every_mode_and_byte_order_reads_as_mrcfile_reads_it(
    write_star: Write, stacks: Stacks, tmp_path: Path, dtype: str, order: str
) -> None:
    values = (np.random.default_rng(1).normal(size=(4, 12, 12)) * 20 + 40).astype(order + dtype)
    path = tmp_path / "Extract/job002/stack_a.mrcs"
    with mrcfile.new(path, overwrite=True) as file:
        file.set_data(values)
        file.set_extended_header(np.frombuffer(b"x" * 512, dtype="V512"))
    assert mrcfile.read(path).astype(np.float32).tolist() == values.astype(np.float32).tolist()
    read = ParticleImages(read_particles(write_star()), tmp_path).read([0, 1, 2, 3])
    assert np.array_equal(read.numpy(), values.astype(np.float32))


def test_threads_and_processes_read_the_same(images: ParticleImages) -> None:
    whole = images.read(range(8))
    with ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(lambda row: images.read([row % 8])[0], range(64)))
    assert torch.equal(torch.stack(parts[:8]), whole)
    assert torch.equal(pickle.loads(pickle.dumps(images)).read(range(8)), whole)


def test_a_stream_gives_every_image_once_and_opens_each_stack_once(
    images: ParticleImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Path] = []
    read_layout = image_stacks.read_stack_layout

    def counted(path: Path, name: str) -> image_stacks.StackLayout:
        opened.append(path)
        return read_layout(path, name)

    expected = images.read(range(8))
    rows = np.array([7, 0, 5, 2, 6, 1, 4, 3])
    images._stacks._maps.clear()
    images._stacks._limit = 1
    monkeypatch.setattr(image_stacks, "read_stack_layout", counted)
    seen = []
    monkeypatch.setattr(particle_images, "_READERS", 1)
    for places, read in images.stream(rows, 3):
        assert torch.equal(read, expected[rows[places]])
        seen += places.tolist()
    assert sorted(seen) == list(range(8))
    assert len(opened) == len(set(opened)) > 1


def test_a_slow_file_does_not_stop_the_rest(images: ParticleImages, monkeypatch: pytest.MonkeyPatch) -> None:
    others_are_there, read = Event(), images.read

    def slow(rows: np.ndarray) -> torch.Tensor:
        if 0 in rows:
            assert others_are_there.wait(60)
        return read(rows)

    monkeypatch.setattr(images, "read", slow)
    order = []
    for places, _ in images.stream(np.arange(8), 2):
        order.append(places.tolist())
        if len(order) == 3:
            others_are_there.set()
    assert order == [[2, 3], [4, 5], [6, 7], [0, 1]]


def test_a_stream_ends_with_the_sentence_about_an_image_that_cannot_be_read(images: ParticleImages, tmp_path: Path) -> None:
    with mrcfile.open(tmp_path / "Extract/job002/stack_b.mrcs", mode="r+") as file:
        file.data[:] = np.nan
    with pytest.raises(UserError, match="not a number"):
        list(images.stream(np.arange(8), 2))


def test_thousands_of_stacks_do_not_stay_open(write_star: Write, stacks: Stacks, tmp_path: Path) -> None:
    names = ("stack_a.mrcs", "stack_b.mrcs") * 50
    opened = OpenStacks(tuple(tmp_path / "Extract/job002" / name for name in names), names, limit=4)
    before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0
    for stack in range(100):
        assert np.array_equal(opened.images(stack), stacks[names[stack]])
    assert len(opened._maps) == 4
    assert before == 0 or len(os.listdir("/proc/self/fd")) <= before + 4


def test_a_missing_stack_is_named(images: ParticleImages, tmp_path: Path) -> None:
    (tmp_path / "Extract/job002/stack_b.mrcs").unlink()
    assert images.read([0]).shape[0] == 1
    for look in (images.verify, lambda: images.read([7])):
        with pytest.raises(UserError, match=r"stack Extract/job002/stack_b.mrcs does not exist"):
            look()


@pytest.mark.parametrize("length", [0, 100, 1024, 2000])
def test_a_truncated_stack_is_named(images: ParticleImages, tmp_path: Path, length: int) -> None:
    os.truncate(tmp_path / "Extract/job002/stack_a.mrcs", length)
    with pytest.raises(UserError, match=rf"stack Extract/job002/stack_a.mrcs is truncated: {length} bytes"):
        images.verify()


def test_a_stack_of_another_box_is_named(write_star: Write, stacks: Stacks, tmp_path: Path) -> None:
    optics = {"rlnImageSize": ["16", "16"]}
    images = ParticleImages(read_particles(write_star(optics)), tmp_path)
    for look in (images.verify, lambda: images.read([0])):
        with pytest.raises(UserError, match=r"stack_a\.mrcs has images of 12 x 12 pixels, but .* says 16"):
            look()


@pytest.mark.parametrize(
    ("map_box", "remedy"),
    [
        (
            12,
            "the map has 12 too, so the STAR file is older than the binning: .* _rlnImageSize to 12 and _rlnImagePixelSize to 5 ",
        ),
        (24, "extract the particles with 24 pixels, as the map has, or give the STAR file that belongs to these stacks"),
        (16, "extract the particles with 24 pixels, or give the STAR file that belongs to these stacks"),
        (None, "extract the particles with 24 pixels, or give the STAR file that belongs to these stacks"),
    ],
)
def test_where_stacks_and_star_file_differ_the_map_tells_which_is_stale(
    write_star: Write, stacks: Stacks, tmp_path: Path, map_box: int | None, remedy: str
) -> None:
    images = ParticleImages(read_particles(write_star({"rlnImageSize": ["24", "24"]})), tmp_path)
    with pytest.raises(UserError, match=rf"stack_a\.mrcs has images of 12 x 12 pixels, but .* says 24 .*; {remedy}"):
        images.verify(map_box)


def test_the_headers_of_the_stacks_are_a_witness_of_the_pixel_size_where_they_agree(
    images: ParticleImages, tmp_path: Path
) -> None:
    for sizes, expected in (((2.5, 2.5), 2.5), ((2.5, 5.0), None), ((0.0, 0.0), None)):
        for name, size in zip(("stack_a.mrcs", "stack_b.mrcs"), sizes, strict=True):
            with mrcfile.open(tmp_path / "Extract/job002" / name, mode="r+") as file:
                file.voxel_size = size
        assert images.pixel_size_in_headers() == expected


def test_an_image_past_the_end_of_its_stack_is_named(write_star: Write, stacks: Stacks, tmp_path: Path) -> None:
    names = [f"{i + 1}@Extract/job002/stack_a.mrcs" for i in range(8)]
    images = ParticleImages(read_particles(write_star(rlnImageName=names)), tmp_path)
    for look in (images.verify, lambda: images.read([5])):
        with pytest.raises(UserError, match=r"row 8 \(line \d+\) is image 8 of Extract/job002/stack_a.mrcs, which has 4"):
            look()


@pytest.mark.parametrize(("value", "what"), [(np.nan, "not a number"), (np.inf, "not a number")])
def test_a_damaged_image_is_named_by_its_particle(
    images: ParticleImages, stacks: Stacks, tmp_path: Path, value: float, what: str
) -> None:
    with mrcfile.open(tmp_path / "Extract/job002/stack_b.mrcs", mode="r+") as file:
        file.data[1, 3, 4] = value
    with pytest.raises(UserError, match=rf"row 6 \(line \d+\), image 000002@Extract/job002/stack_b.mrcs, .*{what}"):
        images.read(range(8))


def test_a_constant_image_is_named_by_its_particle(images: ParticleImages, tmp_path: Path) -> None:
    with mrcfile.open(tmp_path / "Extract/job002/stack_a.mrcs", mode="r+") as file:
        file.data[2] = 0.5
    with pytest.raises(UserError, match=r"row 3 .* is constant \(every pixel 0.5\)"):
        images.read([1, 2])


@pytest.mark.parametrize("header", [b"\0" * 1024, b"hello " * 200])
def test_a_file_that_is_no_stack_is_named(images: ParticleImages, tmp_path: Path, header: bytes) -> None:
    (tmp_path / "Extract/job002/stack_a.mrcs").write_bytes(header)
    with pytest.raises(UserError, match=r"stack Extract/job002/stack_a.mrcs (is no MRC file|has MRC mode)"):
        images.verify()


def test_odd_aberrations_are_taken_out_of_their_group_only(write_star: Write, stacks: Stacks, tmp_path: Path) -> None:
    optics = {"rlnBeamTiltX": ["0", "1.5"], "rlnBeamTiltY": ["0", "-1"], "rlnOddZernike": ["[0,0]", "[3,2]"]}
    images = ParticleImages(read_particles(write_star(optics)), tmp_path).read([0, 4]).double()
    stored = torch.from_numpy(np.stack([stacks["stack_a.mrcs"][0], stacks["stack_b.mrcs"][0]])).double()
    assert torch.allclose(images[0], stored[0], atol=1e-5)
    # the phase of group 2, written out: 200 kV, Cs 1.4 mm
    k = frequencies_2d(12, 2.5, dtype=torch.float64)
    wavelength, square = 0.0250793, k.square().sum(-1)
    tilt = -2 * np.pi * 1.4e7 * wavelength**2 * square * (1.5e-3 * k[..., 0] - 1e-3 * k[..., 1])
    odd = 3 * k[..., 1] + 2 * k[..., 0]
    back = irfft2(rfft2(images[1]) * torch.exp(1j * (tilt + odd)), 12)
    inside = torch.ones(12, 7, dtype=torch.bool)
    inside[6], inside[:, 6] = False, False  # real images cannot hold an odd phase at Nyquist
    assert torch.allclose(rfft2(back)[inside], rfft2(stored[1])[inside], atol=1e-3)
    assert not torch.allclose(images[1], stored[1], atol=0.1)


JOINED = {"rlnImagePixelSize": ["2.5", "2.0"], "rlnImageSize": ["12", "16"]}


@pytest.fixture
def joined(write_star: Write, stacks: Stacks, tmp_path: Path) -> ParticleImages:
    """The second stack has a finer grid."""
    values = np.random.default_rng(7).normal(size=(4, 16, 16)).astype(np.float32)
    write_stack(tmp_path / "Extract/job002/stack_b.mrcs", values)
    stacks["stack_b.mrcs"] = values
    return ParticleImages(read_particles(write_star(JOINED)), tmp_path)


def test_images_of_another_grid_are_brought_to_that_of_the_first(joined: ParticleImages, stacks: Stacks) -> None:
    joined.verify()
    read = joined.read([5, 0, 7])
    resampling = Resampling(16, 2.0, to_box=12, to_pixel_size_angstroms=2.5, magnification=np.eye(2))
    assert read.shape == (3, 12, 12)
    torch.testing.assert_close(read[[0, 2]], resampling(torch.from_numpy(stacks["stack_b.mrcs"][[1, 3]])))
    assert np.array_equal(read[1].numpy(), stacks["stack_a.mrcs"][0])
    (sentence,) = joined.sentences()
    assert sentence == "Optics group second (16 px of 2 A) is brought to the grid of all, 12 px of 2.5 A."
    assert joined.pixel_size_in_headers() == 2.5


def test_each_stack_has_the_box_of_its_optics_group(joined: ParticleImages, tmp_path: Path) -> None:
    write_stack(tmp_path / "Extract/job002/stack_b.mrcs", np.ones((4, 12, 12), np.float32))
    for look in (lambda: joined.verify(), lambda: joined.read([4])):
        with pytest.raises(UserError, match=r"stack_b\.mrcs has images of 12 x 12 pixels, but .* says 16"):
            look()


def test_groups_with_particles_decide_the_grid(write_star: Write, tmp_path: Path) -> None:
    table = read_particles(write_star(JOINED, rlnOpticsGroup=["2"] * 8))
    assert (table.box, table.pixel_size_angstroms, table.coarsest_pixel_angstroms) == (16, 2.0, 2.0)


@pytest.mark.parametrize("matrix", [("1.01", "0.004", "-0.006", "0.98"), ("1.000001", "0", "0", "0.9999995")])
def test_a_magnification_of_one_group_changes_only_its_images(
    write_star: Write, stacks: Stacks, tmp_path: Path, matrix: tuple[str, ...]
) -> None:
    columns = {f"rlnMagMat{i}{j}": ["1" if i == j else "0", matrix[2 * i + j]] for i in (0, 1) for j in (0, 1)}
    images = ParticleImages(read_particles(write_star(columns)), tmp_path)
    read = images.read(range(8)).numpy()
    assert np.array_equal(read[:4], stacks["stack_a.mrcs"])
    is_magnified = float(matrix[0]) > 1.001  # the other is the identity with six digits
    assert np.array_equal(read[4:], stacks["stack_b.mrcs"]) != is_magnified
    assert [("with an anisotropic magnification" in sentence) for sentence in images.sentences()] == [True] * is_magnified
