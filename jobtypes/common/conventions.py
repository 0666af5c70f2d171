"""Axes, origins, signs and units, said once; every other file refers to this one.

Dimension letters: b batch, n points or Gaussians, P particles, N box (even or odd), K basis fields, d latent dimensions.

- Points are in angstroms from the box centre, which is voxel N // 2, in the order x, y, z; x is the fastest axis of an MRC file.
- Arrays: images (b, N, N) are indexed [y, x], volumes (N, N, N) are indexed [z, y, x].
- Spectra are the half plane or half space of a real transform, (..., N, N // 2 + 1), zero frequency in the corner, not normalised
  ("backward": the inverse divides by the number of pixels), phases counted from voxel N // 2. Frequencies (kx, ky[, kz]) are in
  1/angstrom.
- Rotation: r_view = A(rot, tilt, psi) r_map with A = Rz(psi) Ry(tilt) Rz(rot), Rz(t) = [[c, s, 0], [-s, c, 0], [0, 0, 1]] and
  Ry(t) = [[c, 0, -s], [0, 1, 0], [s, 0, c]]: RELION's Euler angles, in degrees. A projection sums along z of the view frame.
- Shift: a particle with RELION's origin o (angstroms) shows its projection moved by -o; `shifts_angstroms` is always -o.
- Contrast: protein is positive (white on black), image = CTF * projection + noise, and the CTF has RELION's sign,
  CTF(0) = +amplitude contrast.

Each of these is tested against files that RELION made (tests/reference/test_relion_*.py).
"""

from __future__ import annotations

EULER_ANGLE_COLUMNS = ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi")
ORIGIN_COLUMNS = ("rlnOriginXAngst", "rlnOriginYAngst")
HALVES = (1, 2)
