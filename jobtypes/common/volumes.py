"""Maps in MRC files, with their pixel size: read, checked, written whole."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import mrcfile
import numpy as np
import torch
from torch import Tensor

from jobtypes.common.image_stacks import read_layout
from jobtypes.common.whole_files import written_whole
from relion_jobs.contract.errors import UserError

_MASK_TOLERANCE, _LOWEST_TOP = 1e-3, 0.5  # what rounding makes; below it no voxel is rather inside than outside
_PIXEL_SIZE_TOLERANCE = 0.005  # relative; RELION keeps six digits, other programs round to two or three


@dataclass(frozen=True)
class Volume:
    """A cubic map.

    Attributes
    ----------
    data : (N, N, N) float32, indexed [z, y, x]
    pixel_size_angstroms
        Edge of a voxel.
    """

    data: Tensor
    pixel_size_angstroms: float

    @property
    def box(self) -> int:
        """Return N."""
        return self.data.shape[-1]


def read_volume(path: Path | str) -> Volume:
    """Read a cubic map of mode 0, 1, 2, 6 or 12 (float16), either byte order.

    Raises
    ------
    UserError
        The file is missing, damaged, not cubic, without a pixel size or holds a value that is not a number.
    """
    path = Path(path)
    layout = read_layout(path, f"map {path}")  # before mrcfile, which takes any header at its word
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # what mrcfile warns of is checked here, in words
        with mrcfile.open(path, mode="r", permissive=True) as file:
            header, data, voxel = file.header, file.data, file.voxel_size
    if data is None or data.size != np.prod(layout.shape):
        raise UserError(f"The map {path} is damaged: its header does not fit its length; write it again.")
    _check_header(path, data, header)
    pixel_size_angstroms = _pixel_size_angstroms(path, data, voxel)
    volume = torch.from_numpy(np.array(data, dtype=np.float32, order="C"))
    if not bool(torch.isfinite(volume).all()):
        z, y, x = torch.nonzero(~torch.isfinite(volume))[0].tolist()
        raise UserError(f"The map {path} holds a value that is not a number at voxel x={x}, y={y}, z={z}; write it again.")
    return Volume(volume, pixel_size_angstroms)


def write_volume(path: Path | str, data: Tensor, pixel_size_angstroms: float) -> None:
    """Write a cubic map as float32 (mode 2), whole or not at all; RELION, ChimeraX and mrcfile read it.

    Parameters
    ----------
    path
        File to write or replace.
    data : (N, N, N) real, indexed [z, y, x]
    pixel_size_angstroms
        Edge of a voxel; the cell is N times as long, the origin is at the first voxel, as RELION writes it.

    Raises
    ------
    UserError
        The file cannot be written.
    """
    if data.ndim != 3 or len(set(data.shape)) != 1:
        raise ValueError(f"volume has shape {tuple(data.shape)}, expected (N, N, N)")
    values = data.detach().to("cpu", torch.float32).numpy()
    with written_whole(path) as temporary, mrcfile.new(temporary, overwrite=True) as file:
        file.set_data(values)
        file.set_volume()
        file.voxel_size = pixel_size_angstroms
        file.header.label[0] = "relion_jobs"  # instead of mrcfile's, which holds the time: equal maps give equal bytes


def check_map(
    volume: Volume, box: int, pixel_size_angstroms: float, name: str, *, of_stacks_angstroms: float | None = None
) -> None:
    """Refuse a map whose box or pixel size is not that of the particles, and say which of both is to be mended, and how.

    Parameters
    ----------
    volume
        The map.
    box, pixel_size_angstroms
        Box and pixel size of the particles.
    name
        What the map is, for the sentence: "Reference map run_class001.mrc".
    of_stacks_angstroms
        Pixel size in the headers of the image stacks, a witness where only pixel sizes differ; None: they have none.

    Raises
    ------
    UserError
        They differ.
    """
    same_pixel = _same(volume.pixel_size_angstroms, pixel_size_angstroms)
    if volume.box == box and same_pixel:
        return
    found = (
        f"{name} has box {volume.box} and pixel size {volume.pixel_size_angstroms:.4g} A, but the particles have box {box} and "
    )
    found += f"pixel size {pixel_size_angstroms:.4g} A"
    if volume.box == box:
        raise UserError(f"{found}; {_which_pixel_size(volume.pixel_size_angstroms, pixel_size_angstroms, of_stacks_angstroms)}.")
    scale = "" if same_pixel else f"--rescale_angpix {pixel_size_angstroms:.6g} "
    raise UserError(
        f"{found}; give the map of the refinement that these particles come from, or {'cut or pad' if same_pixel else 'rescale'} "
        f"this one: relion_image_handler --i MAP --o NEW {scale}--new_box {box}."
    )


def _same(first_angstroms: float, second_angstroms: float) -> bool:
    return abs(first_angstroms / second_angstroms - 1) <= _PIXEL_SIZE_TOLERANCE


def _which_pixel_size(of_map: float, of_particles: float, of_stacks: float | None) -> str:
    """Which of two pixel sizes (A) of one box is likely wrong, by the headers of the stacks, and how to correct either."""
    header = f"correct the header: relion_image_handler --i MAP --o NEW --force_header_angpix {of_particles:.6g}"
    star_file = f"set _rlnImagePixelSize in data_optics to {of_map:.6g}"
    if of_stacks is not None and _same(of_stacks, of_particles):
        return f"the headers of the image stacks agree with the STAR file, so it is the map's header that is wrong: {header}"
    if of_stacks is not None and _same(of_stacks, of_map):
        return f"the headers of the image stacks agree with the map, so it is the STAR file that is wrong: {star_file}"
    return f"one of the pixel sizes is wrong. If it is the map's, {header}; if it is the STAR file's, {star_file}"


def read_mask(path: Path | str, box: int, pixel_size_angstroms: float, name: str) -> Tensor:
    """Read a mask (N, N, N) with values from 0 to 1.

    Parameters
    ----------
    path
        The file.
    box, pixel_size_angstroms
        Box and pixel size of the particles.
    name
        What the mask is, for sentences: "Mask mask.mrc".

    Raises
    ------
    UserError
        It cannot be read, does not fit the particles, or is no mask; the sentence says how to make one of it.
    """
    volume = read_volume(path)
    check_map(volume, box, pixel_size_angstroms, name)
    low, high = float(volume.data.min()), float(volume.data.max())
    if low < -_MASK_TOLERANCE or high > 1 + _MASK_TOLERANCE or high < _LOWEST_TOP:
        raise UserError(
            f"{name} has values from {low:.3g} to {high:.3g}; a mask has 0 outside, 1 inside, and what lies between at its edge: "
            f"{_mend_mask(volume.data, low, high)}."
        )
    return volume.data.clamp(0, 1)


def _mend_mask(data: Tensor, low: float, high: float) -> str:
    """How to make a mask of what has other values: one that rings or was scaled has plateaus, a density has none."""
    if high <= 0:
        return "this one is empty; make it anew"
    inside, edge = int((data > 0.75 * high).sum()), int(((data > 0.25 * high) & (data <= 0.75 * high)).sum())
    if low < -0.25 * high or inside < edge:
        return (
            "this is rather a map of density; make a mask of it: relion_mask_create --i MAP --o NEW --ini_threshold LEVEL "
            "--extend_inimask 3 --width_soft_edge 6, with the contour level that shows what is meant"
        )
    divide = f"--divide_constant {high:.6g} " if abs(high - 1) > 0.25 else ""
    return f"mend it: relion_image_handler --i MASK --o NEW {divide}--threshold_above 1 --threshold_below 0"


def _check_header(path: Path, data: np.ndarray, header: np.recarray) -> None:
    if data.ndim != 3 or len(set(data.shape)) != 1:
        shape = " x ".join(str(n) for n in reversed(data.shape))
        raise UserError(f"The map {path} is {shape} voxels; expected a cube (as many in x, y and z).")
    axes = (int(header.mapc), int(header.mapr), int(header.maps))
    if axes not in ((1, 2, 3), (0, 0, 0)):
        raise UserError(f"The map {path} stores its axes in the order {axes}; expected (1, 2, 3): x fastest, then y, then z.")


def _pixel_size_angstroms(path: Path, data: np.ndarray, voxel: np.recarray) -> float:
    sizes = [float(voxel.x), float(voxel.y), float(voxel.z)]
    if not all(np.isfinite(sizes)) or min(sizes) <= 0 or max(sizes) / min(sizes) > 1 + _PIXEL_SIZE_TOLERANCE:
        text = " x ".join(f"{size:.4g}" for size in sizes)
        raise UserError(
            f"The map {path} has a pixel size of {text} A in its header; expected one positive size for x, y and z "
            f"(set it with relion_image_handler --i MAP --o NEW --force_header_angpix SIZE)."
        )
    # the header keeps the cell length in float32; seven digits are what it can tell
    length = float(f"{sizes[0] * data.shape[-1]:.7g}")
    return length / int(data.shape[-1])
