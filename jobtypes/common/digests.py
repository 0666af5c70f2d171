"""Names for what files hold: equal where all that is used of them is equal, whatever the bytes around it."""

from __future__ import annotations

import hashlib

import numpy as np

from jobtypes.common.particles import ParticleTable
from jobtypes.common.tilt_stacks import TiltImages


def digest(*arrays: object) -> str:
    """SHA-256 of numpy arrays, tensors and texts."""
    found = hashlib.sha256()
    for array in arrays:
        found.update(array.encode() if isinstance(array, str) else np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


def digest_of_particles(table: ParticleTable) -> str:
    """A name for all that a job takes from the STAR file."""
    optics = table.optics
    return digest(
        *table.stack_paths,
        *([table.is_repeat] if table.is_repeat.any() else []),
        *(table.rows, table.stack_of, table.slice_of, table.half, table.angles_degrees, table.origins_angstroms),
        *(table.ctf_columns[name] for name in sorted(table.ctf_columns)),
        *(table.optics_group, optics.voltage_kilovolts, optics.spherical_aberration_millimetres, optics.amplitude_contrast),
        *_that_differ(table),
        *(optics.premultiplied, optics.beam_tilt_milliradians, optics.odd_zernikes, optics.even_zernikes),
        *((optics.phase_flipped,) if optics.phase_flipped.any() else ()),
        *([] if table.tilts is None else _of_tilts(table.tilts)),
    )


def _of_tilts(tilts: TiltImages) -> list[np.ndarray]:
    columns = [tilts.ctf_columns[name] for name in sorted(tilts.ctf_columns)]
    return [tilts.particle, tilts.slice_of, tilts.projections, *columns]


def _that_differ(table: ParticleTable) -> list[np.ndarray]:
    """What only counts where particles differ in it: grey scales, and grids of optics groups."""
    optics = table.optics
    is_common = all(optics.has_grid(group, table.box, table.pixel_size_angstroms) for group in table.used_groups)
    grids = [] if is_common else [optics.boxes, optics.pixel_sizes_angstroms, optics.magnification]
    return [*grids, *([table.norm_correction] if np.ptp(table.norm_correction) else [])]
