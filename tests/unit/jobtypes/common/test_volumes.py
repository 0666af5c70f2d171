from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import torch

from jobtypes.common.volumes import Volume, check_map, read_mask, read_volume, write_volume
from relion_jobs.contract.errors import UserError


def write_map(path: Path, values: np.ndarray, pixel_size_angstroms: float | tuple[float, float, float] = 2.0) -> Path:
    with mrcfile.new(path, overwrite=True) as file:
        file.set_data(values)
        file.voxel_size = pixel_size_angstroms
    return path


@pytest.mark.parametrize("box", [6, 7])
def test_a_map_comes_back_as_it_was_written(tmp_path: Path, box: int) -> None:
    data = torch.randn(box, box, box)
    write_volume(tmp_path / "a" / "map.mrc", data, 1.0729)
    volume = read_volume(tmp_path / "a" / "map.mrc")
    assert torch.equal(volume.data, data)
    assert volume.pixel_size_angstroms == pytest.approx(1.0729, rel=1e-7)
    assert volume.box == box


def test_a_written_map_is_a_valid_mrc_file_with_cell_and_origin(tmp_path: Path) -> None:
    write_volume(tmp_path / "map.mrc", torch.randn(5, 5, 5, dtype=torch.float64), 1.5)
    assert mrcfile.validate(tmp_path / "map.mrc")
    with mrcfile.open(tmp_path / "map.mrc") as file:
        assert file.is_volume()
        assert file.header.cella.x == 7.5
        assert file.header.origin.item() == (0, 0, 0)
        assert (file.header.nxstart, file.header.mx, file.header.mode) == (0, 5, 2)


def test_a_tensor_that_needs_a_gradient_is_written(tmp_path: Path) -> None:
    data = torch.randn(4, 4, 4, requires_grad=True)
    write_volume(tmp_path / "map.mrc", data, 1.0)
    assert torch.equal(read_volume(tmp_path / "map.mrc").data, data.detach())


def test_the_axes_are_z_y_x_and_can_be_written_to(tmp_path: Path) -> None:
    values = np.zeros((4, 4, 4), np.float32)
    values[1, 2, 3] = 5
    volume = read_volume(write_map(tmp_path / "m.mrc", values))
    assert volume.data[1, 2, 3] == 5
    volume.data[0, 0, 0] = 1


@pytest.mark.parametrize("dtype", ["i1", "i2", "u2", "f2", ">f4"])
def test_other_modes_and_byte_orders_become_float32(tmp_path: Path, dtype: str) -> None:
    values = np.arange(27).reshape(3, 3, 3).astype(dtype)
    read = read_volume(write_map(tmp_path / "m.mrc", values)).data
    assert read.dtype == torch.float32
    assert np.array_equal(read.numpy(), np.arange(27).reshape(3, 3, 3))


@pytest.mark.parametrize(
    ("values", "pixel_size_angstroms", "sentence"),
    [
        (np.ones((3, 4, 5), np.float32), 1, "5 x 4 x 3 voxels; expected a cube"),
        (np.ones((4, 4), np.float32), 1, "4 x 4 voxels; expected a cube"),
        (np.ones((3, 3, 3), np.float32), 0, "pixel size of 0 x 0 x 0 A"),
        (np.ones((3, 3, 3), np.float32), (1, 1, 2), "pixel size of 1 x 1 x 2 A"),
        (np.ones((3, 3, 3), np.complex64), 1, "has MRC mode 4"),
    ],
)
def test_a_map_that_cannot_be_used_is_refused(
    tmp_path: Path, values: np.ndarray, pixel_size_angstroms: float, sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        read_volume(write_map(tmp_path / "m.mrc", values, pixel_size_angstroms))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_voxel_that_is_not_a_number_is_named(tmp_path: Path, value: float) -> None:
    path = write_map(tmp_path / "m.mrc", np.ones((3, 3, 3), np.float32))
    np.memmap(path, np.float32, "r+", offset=1024, shape=(3, 3, 3))[2, 1, 0] = value
    with pytest.raises(UserError, match="not a number at voxel x=0, y=1, z=2"):
        read_volume(path)


def test_permuted_axes_are_refused(tmp_path: Path) -> None:
    path = write_map(tmp_path / "m.mrc", np.ones((3, 3, 3), np.float32))
    with mrcfile.open(path, mode="r+") as file:
        file.header.mapc, file.header.maps = 3, 1
    with pytest.raises(UserError, match=r"order \(3, 2, 1\)"):
        read_volume(path)


@pytest.mark.parametrize("content", [b"", b"short", b"no map" * 500])
def test_a_file_that_is_no_map_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.mrc").write_bytes(content)
    with pytest.raises(UserError, match=r"m\.mrc (is no MRC file|is truncated|has MRC mode)"):
        read_volume(tmp_path / "m.mrc")


def test_a_truncated_map_is_refused(tmp_path: Path) -> None:
    path = write_map(tmp_path / "m.mrc", np.ones((5, 5, 5), np.float32))
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(UserError, match=r"m\.mrc"):
        read_volume(path)


def test_a_missing_map_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        read_volume(tmp_path / "m.mrc")


@pytest.mark.parametrize(("box", "pixel_size_angstroms"), [(6, 2.0), (4, 2.1)])
def test_a_map_of_another_box_or_pixel_size_is_refused(box: int, pixel_size_angstroms: float) -> None:
    volume = Volume(torch.zeros(4, 4, 4), 2.0)
    check_map(volume, 4, 2.004, "Mask mask.mrc")
    with pytest.raises(UserError, match=r"Mask mask\.mrc has box 4 and pixel size 2 A, but the particles have box"):
        check_map(volume, box, pixel_size_angstroms, "Mask mask.mrc")


@pytest.mark.parametrize(
    ("box", "pixel_size_angstroms", "of_stacks", "remedy"),
    [
        (4, 3.0, None, "one of the pixel sizes is wrong. If it is the map's, correct the header: relion_image_handler --i MAP "
         "--o NEW --force_header_angpix 3; if it is the STAR file's, set _rlnImagePixelSize in data_optics to 2."),
        (4, 3.0, 3.0, "headers of the image stacks agree with the STAR file, so it is the map's header that is wrong: correct "
         "the header: relion_image_handler --i MAP --o NEW --force_header_angpix 3."),
        (4, 3.0, 2.0, "headers of the image stacks agree with the map, so it is the STAR file that is wrong: set "
         "_rlnImagePixelSize in data_optics to 2."),
        (4, 3.0, 1.0, "one of the pixel sizes is wrong."),
        (8, 1.0, None, "or rescale this one: relion_image_handler --i MAP --o NEW --rescale_angpix 1 --new_box 8."),
        (8, 2.0, None, "or cut or pad this one: relion_image_handler --i MAP --o NEW --new_box 8."),
    ],
)  # fmt: skip
def test_what_differs_decides_the_remedy(box: int, pixel_size_angstroms: float, of_stacks: float | None, remedy: str) -> None:
    volume = Volume(torch.zeros(4, 4, 4), 2.0)
    with pytest.raises(UserError, match=re.escape(remedy)):
        check_map(volume, box, pixel_size_angstroms, "The map m.mrc", of_stacks_angstroms=of_stacks)


def made_mask(scale: float = 1.0, ringing: float = 0.0) -> np.ndarray:
    """A soft sphere of 8 pixels in a box of 32, that rings and is scaled."""
    axis = np.arange(32) - 16
    distance = np.sqrt(axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2)
    mask = np.clip((11 - distance) / 3, 0, 1)
    return (scale * (mask + ringing * np.cos(distance))).astype(np.float32)


def made_density() -> np.ndarray:
    return (made_mask() * np.random.default_rng(0).exponential(0.01, (32, 32, 32)) - 0.001).astype(np.float32)


def test_a_mask_comes_as_it_is(tmp_path: Path) -> None:
    mask = read_mask(write_map(tmp_path / "mask.mrc", made_mask()), 32, 2.0, "Mask mask.mrc")
    assert np.array_equal(mask.numpy(), made_mask())


NOT_A_MASK = [
    (made_mask(ringing=0.05), "--o NEW --threshold_above 1 --threshold_below 0"),
    (made_mask(scale=255), "--o NEW --divide_constant 255 --threshold_above 1 --threshold_below 0"),
    (made_mask(scale=0.01, ringing=0.02), "--threshold_above 1 --threshold_below 0"),
    (made_density(), "relion_mask_create --i MAP --o NEW --ini_threshold LEVEL"),
    (100 * made_density(), "relion_mask_create --i MAP --o NEW --ini_threshold LEVEL"),
    (made_density().clip(0), "relion_mask_create --i MAP --o NEW --ini_threshold LEVEL"),
    (np.zeros((32, 32, 32), np.float32), "this one is empty"),
]


@pytest.mark.parametrize(("values", "remedy"), NOT_A_MASK)
def test_what_is_no_mask_is_refused_with_the_way_to_one(tmp_path: Path, values: np.ndarray, remedy: str) -> None:
    with pytest.raises(UserError, match=rf"Mask mask.mrc has values from .*{remedy}"):
        read_mask(write_map(tmp_path / "mask.mrc", values), 32, 2.0, "Mask mask.mrc")


@pytest.mark.relion
@pytest.mark.skipif(shutil.which("relion_image_handler") is None, reason="needs Debian's relion package")
@pytest.mark.parametrize("values", [values for values, _ in NOT_A_MASK[:5]])
def test_the_command_that_is_named_mends_the_mask(tmp_path: Path, values: np.ndarray) -> None:
    path = write_map(tmp_path / "mask.mrc", values)
    with pytest.raises(UserError) as refused:
        read_mask(path, 32, 2.0, "Mask mask.mrc")
    command = re.search(r"relion_(image_handler|mask_create)[^,]*", str(refused.value).rstrip("."))
    names = {
        "MASK": str(path),
        "MAP": str(path),
        "NEW": str(tmp_path / "new.mrc"),
        "LEVEL": str(float(np.quantile(values, 0.95))),
    }
    subprocess.run([names.get(word, word) for word in command[0].split()], check=True, capture_output=True)
    mask = read_mask(tmp_path / "new.mrc", 32, 2.0, "Mask new.mrc")
    assert float(mask[16, 16, 16]) > 0.8
    assert float(mask[0, 0, 0]) < 0.05


@pytest.mark.relion
@pytest.mark.skipif(shutil.which("relion_image_handler") is None, reason="needs Debian's relion package")
def test_the_command_that_is_named_corrects_the_header_and_nothing_else(tmp_path: Path) -> None:
    path, new = write_map(tmp_path / "map.mrc", made_mask(), 1.0), tmp_path / "new.mrc"
    with pytest.raises(UserError) as refused:
        check_map(read_volume(path), 32, 2.75, "The map map.mrc")
    command = re.search(r"relion_image_handler[^;]*", str(refused.value))[0].split()
    subprocess.run([{"MAP": str(path), "NEW": str(new)}.get(word, word) for word in command], check=True, capture_output=True)
    volume = read_volume(new)
    check_map(volume, 32, 2.75, "The map new.mrc")
    assert np.array_equal(volume.data.numpy(), made_mask())


def test_equal_maps_are_equal_bytes_whenever_they_are_written(tmp_path: Path) -> None:
    write_volume(tmp_path / "a.mrc", torch.ones(6, 6, 6), 2.0)
    header = (tmp_path / "a.mrc").read_bytes()[224:1024]
    assert header.rstrip(b"\0 ") == b"relion_jobs"
