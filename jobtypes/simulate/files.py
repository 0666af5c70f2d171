"""Particle stacks and the particle STAR file of a simulated set."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jobtypes.common.whole_files import written_whole
from jobtypes.simulate.geometry import Poses
from jobtypes.simulate.optics import Optics

FLOAT32_MODE, FLOAT16_MODE = 2, 12

OPTICS_COLUMNS = (
    "rlnOpticsGroupName",
    "rlnOpticsGroup",
    "rlnMicrographOriginalPixelSize",
    "rlnVoltage",
    "rlnSphericalAberration",
    "rlnAmplitudeContrast",
    "rlnImagePixelSize",
    "rlnImageSize",
    "rlnImageDimensionality",
    "rlnCtfDataAreCtfPremultiplied",
)
PARTICLE_COLUMNS = (
    "rlnImageName",
    "rlnMicrographName",
    "rlnAngleRot",
    "rlnAngleTilt",
    "rlnAnglePsi",
    "rlnOriginXAngst",
    "rlnOriginYAngst",
    "rlnDefocusU",
    "rlnDefocusV",
    "rlnDefocusAngle",
    "rlnCtfBfactor",
    "rlnCtfScalefactor",
    "rlnPhaseShift",
    "rlnRandomSubset",
    "rlnOpticsGroup",
    "rlnNormCorrection",
    "rlnClassNumber",
    "rlnGroupNumber",
)


def write_stack(path: Path, images: NDArray[np.float32], pixel_size_angstroms: float, *, float16: bool) -> None:
    """Write a stack (.mrcs) whole or not at all.

    Parameters
    ----------
    path
        File.
    images
        (n, N, N).
    pixel_size_angstroms
        Goes into the header's cell.
    float16
        Mode 12 instead of mode 2.
    """
    data = images.astype("<f2" if float16 else "<f4")
    mode = FLOAT16_MODE if float16 else FLOAT32_MODE
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as temporary, temporary.open("wb") as file:
        # the header tells of the values as they are stored
        file.write(stack_header(data.astype(np.float32), pixel_size_angstroms, mode=mode))
        file.write(data.tobytes())


def stack_header(images: NDArray[np.float32], pixel_size_angstroms: float, *, mode: int) -> bytes:
    """Make the 1024 bytes that open an MRC2014 image stack.

    Source: Cheng et al. (2015) J. Struct. Biol. 192, 146, table 1.
    """
    count, rows, columns = images.shape
    words = struct.pack("<10i", columns, rows, count, mode, 0, 0, 0, columns, rows, count)
    cell = struct.pack("<6f", *(pixel_size_angstroms * n for n in (columns, rows, count)), 90.0, 90.0, 90.0)
    axes = struct.pack("<3i", 1, 2, 3)
    values = struct.pack("<3f", float(images.min()), float(images.max()), float(images.mean()))
    space_group = struct.pack("<2i", 0, 0)  # 0: a stack of images; no extended header
    head = words + cell + axes + values + space_group
    # word 28 is the version of the format, words 50-52 the origin, 53 the name, 54 the byte order, 55 the rms
    middle = bytes(108 - len(head)) + struct.pack("<i", 20140)
    middle += bytes(208 - len(head) - len(middle)) + b"MAP " + bytes((0x44, 0x44, 0, 0)) + struct.pack("<f", float(images.std()))
    return (head + middle).ljust(1024, b"\0")


def write_particles_star(
    path: Path,
    image_names: Sequence[str],
    *,
    poses: Poses,
    optics: Optics,
    half: NDArray[np.int64],
    box: int,
    pixel_size_angstroms: float,
) -> None:
    """Write the particle STAR file, RELION 3.1 or later, whole or not at all.

    Parameters
    ----------
    path
        File.
    image_names
        p names, ``000001@stack``, relative to the project directory.
    poses, optics
        As observed.
    half
        (p,) 1 or 2.
    box, pixel_size_angstroms
        Size of the images.
    """
    group = ["opticsGroup1", "1", f"{pixel_size_angstroms:.6f}", f"{optics.voltage_kilovolts:.6f}"]
    group += [f"{optics.spherical_aberration_millimetres:.6f}", f"{optics.amplitude_contrast:.6f}"]
    group += [f"{pixel_size_angstroms:.6f}", str(box), "2", "0"]
    numbers = np.column_stack([poses.as_columns(), optics.defocus_columns()])
    rows = []
    for row, name in enumerate(image_names):
        given = " ".join(f"{value:.6f}" for value in numbers[row])
        micrograph = f"MotionCorr/job001/mic_{optics.micrograph[row]:04d}.mrc"
        rows.append(f"{name} {micrograph} {given} 0.000000 1.000000 0.000000 {half[row]} 1 1.000000 1 1")
    text = table_text("optics", OPTICS_COLUMNS, [" ".join(group)]) + table_text("particles", PARTICLE_COLUMNS, rows)
    with written_whole(path) as temporary:
        temporary.write_text(text)


def table_text(name: str, columns: Sequence[str], rows: Sequence[str]) -> str:
    """Text of a table of a STAR file."""
    labels = "\n".join(f"_{column} #{number}" for number, column in enumerate(columns, 1))
    return f"\n# version 30001\n\ndata_{name}\n\nloop_\n{labels}\n" + "\n".join(rows) + "\n\n"
