"""A RELION 5 tomography project as small as can be: tilt stacks of Gaussians, drawn by slow sums.

With what is true of each image. Written from the description of the formats alone, one image after the other, and without
anything of the package.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import mrcfile
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
SET = "Refine3D/job003/run_optimisation_set.star"
PARTICLES = "Refine3D/job003/run_data.star"
TOMOGRAMS = "Tomograms/job001/tomograms.star"
KILOVOLTS, CS_MILLIMETRES = 300.0, 2.7


@dataclass
class TiltSet:
    """What to make, and the truth of what was made.

    Attributes
    ----------
    atoms : (n, 3) A from the box centre, of each particle, or (p, n, 3)
    """

    atoms: Array
    n_particles: int = 6
    box: int = 16
    pixel: float = 4.0
    tilts: Sequence[float] = (0.0, 30.0, -30.0, 45.0)
    width: float = 4.0
    noise: float = 0.0
    premultiplied: bool = True
    hidden: bool = True
    seed: int = 0
    truth: list[dict[str, object]] = field(default_factory=list)
    half: list[int] = field(default_factory=list)


def turn(axis: str, degrees: float) -> Array:
    """An ordinary right-handed rotation."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return np.array(
        {
            "x": [[1, 0, 0], [0, c, -s], [0, s, c]],
            "y": [[c, 0, s], [0, 1, 0], [-s, 0, c]],
            "z": [[c, -s, 0], [s, c, 0], [0, 0, 1]],
        }[axis]
    )


def euler(rot: float, tilt: float, psi: float) -> Array:
    """RELION's Euler angles: about z, y and z, each in the other sense."""
    return turn("z", -psi) @ turn("y", -tilt) @ turn("z", -rot)


def transfer(box: int, pixel: float, image: dict[str, object], amplitude_contrast: float) -> Array:
    """(N, N) c of an image, zero frequency in the corner: scale, CTF, damping by dose."""
    axis = np.fft.fftfreq(box, pixel)
    ky, kx = np.meshgrid(axis, axis, indexing="ij")
    k2 = kx**2 + ky**2
    volts = KILOVOLTS * 1e3
    wavelength = 12.2643247 / math.sqrt(volts * (1 + 0.978466e-6 * volts))
    u, v, angle = (float(image[name]) for name in ("u", "v", "angle"))  # type: ignore[arg-type]
    defocus = (u + v) / 2 + (u - v) / 2 * np.cos(2 * (np.arctan2(ky, kx) - math.radians(angle)))
    gamma = math.pi * wavelength * defocus * k2 - math.pi / 2 * CS_MILLIMETRES * 1e7 * wavelength**3 * k2**2
    ctf = np.sin(gamma + math.asin(amplitude_contrast))
    with np.errstate(divide="ignore"):
        damping = np.exp(-float(image["dose"]) / (2 * (0.245 * np.sqrt(k2) ** -1.665 + 2.81)))  # type: ignore[arg-type]
    return float(image["scale"]) * ctf * damping  # type: ignore[arg-type]


def projection(atoms: Array, matrix: Array, shift: Array, *, box: int, pixel: float, width: float) -> Array:
    """(N, N) spectrum of Gaussians seen through a rotation and moved by a shift (A), phases from pixel N // 2."""
    axis = np.fft.fftfreq(box, pixel)
    ky, kx = np.meshgrid(axis, axis, indexing="ij")
    spectrum = np.zeros((box, box), dtype=complex)
    for atom in atoms:
        x, y = (matrix @ atom)[:2] + shift
        spectrum += np.exp(-2j * math.pi * (kx * x + ky * y))
    return spectrum * np.exp(-2 * math.pi**2 * width**2 * (kx**2 + ky**2))


def write_tilt_project(project: Path, made: TiltSet) -> TiltSet:
    """Write all files, two tomograms with a hand and an optics group each; `made.truth` says what is in each image."""
    rng = np.random.default_rng(made.seed)
    tomograms = {"tomo1": (1, 0.1, tuple(made.tilts)), "7": (-1, 0.07, tuple(made.tilts)[:-1])}
    frames = {name: _write_series(project, name, tilts, rng) for name, (_, _, tilts) in tomograms.items()}
    _write_tomograms(project, made, tomograms)
    rows = []
    for row in range(made.n_particles):
        name = list(tomograms)[row % 3 == 2]
        hand, contrast, _ = tomograms[name]
        visible = [int(not made.hidden or rng.random() < 0.8 or f == 0) for f in range(len(frames[name]))]
        a_sub, a_part = (
            np.array((rng.uniform(-180, 180), rng.uniform(5, 175), rng.uniform(-180, 180))).round(6) for _ in range(2)
        )
        coordinate, origin = rng.uniform(-900, 900, 3).round(6), rng.normal(0, 2, 3).round(6)
        atoms = made.atoms if made.atoms.ndim == 2 else made.atoms[row]
        slices = []
        for frame in (frame for frame, is_seen in zip(frames[name], visible, strict=True) if is_seen):
            image = _image(frame, euler(*a_sub), euler(*a_part), coordinate, origin, hand)
            made.truth.append({**image, "particle": row})
            slices.append(_draw(made, image, atoms, contrast, rng))
        stack = f"Extract/job002/Subtomograms/{name}/{row}_stack2d.mrcs"
        _write_stack(project / stack, np.array(slices, dtype=np.float32))
        made.half.append(row // 2 % 2 + 1)
        numbers = " ".join(f"{value:.6f}" for value in (*coordinate, *a_sub, *origin, *a_part))
        flags = ",".join(map(str, visible))
        rows.append(f"{name} {name}/{row} {1 + list(tomograms).index(name)} [{flags}] {stack} {numbers} {made.half[-1]}")
    _write_particles(project, made, [contrast for _, contrast, _ in tomograms.values()], rows)
    named = f'_rlnTomoParticlesFile {PARTICLES}\n_rlnTomoTomogramsFile {TOMOGRAMS}\n_rlnTomoTrajectoriesFile ""\n'
    _write(project / SET, f"\ndata_\n\n{named}")
    return made


def _write_tomograms(project: Path, made: TiltSet, tomograms: dict[str, tuple[int, float, tuple[float, ...]]]) -> None:
    columns = (
        "rlnTomoName rlnVoltage rlnSphericalAberration rlnAmplitudeContrast rlnTomoHand rlnTomoTiltSeriesPixelSize "
        "rlnTomoTiltSeriesStarFile rlnTomoSizeX rlnTomoSizeY rlnTomoSizeZ"
    )
    rows = [
        f"{name} {KILOVOLTS} {CS_MILLIMETRES} {contrast} {hand} {made.pixel / 2} Tomograms/job001/tilt_series/{name}.star "
        "464 480 400"
        for name, (hand, contrast, _) in tomograms.items()
    ]
    _write(project / TOMOGRAMS, _loop("global", columns, rows))


def _write_particles(project: Path, made: TiltSet, contrasts: Sequence[float], rows: Sequence[str]) -> None:
    optics = [
        f"{KILOVOLTS} {CS_MILLIMETRES} {contrast} {made.pixel / 2} {g} optics{g} {int(made.premultiplied)} 2 2.0 {made.pixel} "
        f"{made.box}"
        for g, contrast in enumerate(contrasts, 1)
    ]
    of_optics = (
        "rlnVoltage rlnSphericalAberration rlnAmplitudeContrast rlnTomoTiltSeriesPixelSize rlnOpticsGroup rlnOpticsGroupName "
        "rlnCtfDataAreCtfPremultiplied rlnImageDimensionality rlnTomoSubtomogramBinning rlnImagePixelSize rlnImageSize"
    )
    of_particles = (
        "rlnTomoName rlnTomoParticleName rlnOpticsGroup rlnTomoVisibleFrames rlnImageName rlnCenteredCoordinateXAngst "
        "rlnCenteredCoordinateYAngst rlnCenteredCoordinateZAngst rlnTomoSubtomogramRot rlnTomoSubtomogramTilt "
        "rlnTomoSubtomogramPsi rlnOriginXAngst rlnOriginYAngst rlnOriginZAngst rlnAngleRot rlnAngleTilt rlnAnglePsi "
        "rlnRandomSubset"
    )
    tables = _loop("optics", of_optics, optics) + _loop("particles", of_particles, rows)
    _write(project / PARTICLES, f"\ndata_general\n\n_rlnTomoSubTomosAre2DStacks 1\n\n{tables}")


def _image(
    frame: dict[str, float], a_sub: Array, a_part: Array, coordinate: Array, origin: Array, hand: int
) -> dict[str, object]:
    p = turn("z", frame["z"]) @ turn("y", frame["y"]) @ turn("x", frame["x"])
    depth = hand * (p @ (coordinate - a_sub @ origin))[2]
    image: dict[str, object] = {"matrix": p @ a_sub @ a_part, "shift": -(p @ a_sub @ origin)[:2]}
    return image | {name: frame[name] for name in ("angle", "dose", "scale")} | {"u": frame["u"] + depth, "v": frame["v"] + depth}


def _draw(made: TiltSet, image: dict[str, object], atoms: Array, contrast: float, rng: np.random.Generator) -> Array:
    c = transfer(made.box, made.pixel, image, contrast)
    matrix, shift = image["matrix"], image["shift"]
    seen = c * projection(atoms, matrix, shift, box=made.box, pixel=made.pixel, width=made.width)  # type: ignore[arg-type]
    middle = np.fft.fftfreq(made.box) * made.box * math.pi * 2 * (made.box // 2) / made.box
    seen = seen * np.exp(-1j * (middle[:, None] + middle)) + np.fft.fft2(rng.normal(0, made.noise, (made.box, made.box)))
    return np.asarray(np.fft.ifft2(seen * c if made.premultiplied else seen).real)


def _write_series(project: Path, name: str, tilts: Sequence[float], rng: np.random.Generator) -> list[dict[str, float]]:
    frames = []
    for number, tilt in enumerate(tilts):
        u = rng.uniform(15000, 20000)
        frames.append({"x": rng.normal(0, 1), "y": tilt + rng.normal(0, 0.1), "z": 85 + rng.normal(0, 0.1), "dose": 3.0 * number,
                       "u": u, "v": u - 400, "angle": rng.uniform(0, 180), "scale": math.cos(math.radians(tilt))})  # fmt: skip
        frames[-1] = {key: round(value, 6) for key, value in frames[-1].items()}
    columns = (
        "rlnMicrographPreExposure rlnTomoXTilt rlnTomoYTilt rlnTomoZRot rlnTomoXShiftAngst rlnTomoYShiftAngst rlnDefocusU "
        "rlnDefocusV rlnDefocusAngle rlnCtfScalefactor"
    )
    rows = [f"{f['dose']} {f['x']} {f['y']} {f['z']} 3.5 -7.5 {f['u']} {f['v']} {f['angle']} {f['scale']}" for f in frames]
    _write(project / f"Tomograms/job001/tilt_series/{name}.star", _loop(name, columns, rows))
    return frames


def _loop(name: str, columns: str, rows: Sequence[str]) -> str:
    heads = "\n".join(f"_{column} #{number}" for number, column in enumerate(columns.split(), 1))
    return f"\n# version 50001\n\ndata_{name}\n\nloop_\n{heads}\n" + "\n".join(rows) + "\n\n"


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _write_stack(path: Path, images: NDArray[np.float32]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with mrcfile.new(path, overwrite=True) as file:
        file.set_data(images)
        file.set_image_stack()
