"""The molecule of a half set as surfaces that a browser can deform: vertices of the consensus, and the motions there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import trimesh
from numpy.typing import NDArray
from torch import Tensor

from jobtypes.common.fourier import crop_spectrum_3d, irfft3, rfft3
from jobtypes.common.volumes import read_volume
from jobtypes.dynamight import layout
from jobtypes.dynamight.model.gaussians import automatic_threshold
from jobtypes.dynamight.visualization.figures import without_dust
from jobtypes.dynamight.visualization.held_out import HeldOutParticles
from jobtypes.dynamight.visualization.page.packing import Packed, pack
from jobtypes.dynamight.visualization.session import Session
from jobtypes.dynamight.visualization.state_surfaces import GaussianSurfaces, Mesh, contour
from jobtypes.dynamight.visualization.states import half_reconstruction

# Contour levels over the one that shows the molecule: with what is faint, as it is, and its dense core. Vertices of each at most,
# so many where a half set has 16 motions: with both half sets, a few megabytes.
LEVELS = {"wide": (0.6, 7_000), "middle": (1.0, 16_000), "tight": (1.6, 7_000)}
_MOTIONS_OF_LEVELS = 16
_LARGEST_GRID = 160  # finer voxels than these would be taken out of the surface again
_POSITION_STEP_ANGSTROMS = 0.02
_DISPLACEMENT_STEP_ANGSTROMS = 0.02  # of the most that a motion does to a vertex in any particle
_BYTE = 255


@dataclass(frozen=True)
class ConsensusMap:
    """The map whose surfaces are shown.

    Attributes
    ----------
    volume : (N, N, N)
        Density.
    pixel_size_angstroms
        Of its voxels.
    words
        What it is.
    """

    volume: Tensor
    pixel_size_angstroms: float
    words: str


def consensus_map(session: Session) -> ConsensusMap:
    """The deformed reconstruction of a half set where there is one, else its Gaussians; of at most `_LARGEST_GRID` voxels."""
    volume = half_reconstruction(session.job_directory, session.half, session.box, session.pixel_size_angstroms)
    if volume is None:
        surfaces = GaussianSurfaces(session.gaussians)
        rendered = surfaces.density(session.model.gaussians.positions)
        return ConsensusMap(rendered, surfaces.pixel_size_angstroms, "the Gaussians of the half set")
    size = min(session.box, _LARGEST_GRID)
    if size < session.box:
        volume = irfft3(crop_spectrum_3d(rfft3(volume), size), size) * (size / session.box) ** 3
    words = "the deformed half map, weighted by its FSC"
    return ConsensusMap(volume.cpu(), session.pixel_size_angstroms * session.box / size, words)


def contoured(consensus: ConsensusMap, level: float, most_vertices: int) -> Mesh:
    """Surface at a level without floating dust, of as few triangles as wanted.

    Source: Garland and Heckbert 1997 for quadric errors, by which trimesh merges triangles.
    """
    mesh = contour(without_dust(consensus.volume, level), consensus.pixel_size_angstroms, level)
    if len(mesh.vertices) <= most_vertices:
        return mesh
    whole = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    fewer = whole.simplify_quadric_decimation(face_count=2 * most_vertices)  # two triangles for each vertex
    return Mesh(np.asarray(fewer.vertices, dtype=np.float32), np.asarray(fewer.faces, dtype=np.int64))


@torch.no_grad()
def surfaces_of(session: Session, held_out: HeldOutParticles | None) -> Iterator[dict[str, object]]:
    """What the page holds of each contour level of a half set, the widest first.

    Parameters
    ----------
    session
        The half set.
    held_out
        For the disagreement of the half sets; None where it is not known.
    """
    consensus = consensus_map(session)
    middle = automatic_threshold(consensus.volume)
    for name, (factor, most_vertices) in LEVELS.items():
        share = min(1.0, _MOTIONS_OF_LEVELS / len(session.motions))
        mesh = contoured(consensus, factor * middle, int(share * most_vertices))
        if len(mesh.vertices):
            yield {"name": name, "level": factor * middle, "of": consensus.words} | _packed_surface(session, mesh, held_out)


def _packed_surface(session: Session, mesh: Mesh, held_out: HeldOutParticles | None) -> dict[str, object]:
    vertices = torch.from_numpy(mesh.vertices)
    basis = session.model.field.basis(vertices.to(session.coefficients.device)).cpu()  # (K, m, 3)
    motions = session.motions
    fields = torch.einsum("dk,kmc->dmc", motions.from_coordinates, basis)
    largest = session.coordinates.abs().amax(0)  # (D,) A
    colours: dict[str, Packed] = {"mobility": _byte_scale(_mobility(session, basis))}
    if held_out is not None:
        colours["disagreement"] = _byte_scale(_nearest(session, mesh, held_out.disagreements[session.half].gaussian_error))
    if (gain := _local_gain(session.job_directory / layout.LOCAL_GAIN, vertices)) is not None:
        colours["gain"] = pack(gain, step=0.01, neighbours=True)
    return {
        "vertices": pack(mesh.vertices, step=_POSITION_STEP_ANGSTROMS, neighbours=True),
        "faces": pack(mesh.faces, neighbours=True),
        "mean": pack(torch.einsum("k,kmc->mc", motions.mean, basis).numpy(), step=_DISPLACEMENT_STEP_ANGSTROMS, neighbours=True),
        "motions": [
            pack(field.numpy(), step=_DISPLACEMENT_STEP_ANGSTROMS / max(float(most), 0.1), neighbours=True)
            for field, most in zip(fields, largest, strict=True)
        ],
        "colours": colours,
        "parts": [_byte_scale(share) for share in _shares_of_parts(session, mesh)],
    }


def _mobility(session: Session, basis: Tensor) -> NDArray[np.float64]:
    """(m,) A rms over the particles that are the molecule, about the mean, where the fields are (K, m, 3)."""
    coefficients = session.coefficients[session.part.good].cpu()
    centred = coefficients - coefficients.mean(0)
    covariance = centred.T @ centred / max(len(centred), 1)
    power = torch.einsum("kl,kmc,lmc->m", covariance, basis, basis)
    return np.asarray(power.clamp(min=0).sqrt().double().numpy())


def _shares_of_parts(session: Session, mesh: Mesh) -> list[NDArray[np.float64]]:
    """For each part that some particles lack, which vertices (m,) are of it: 0 or 1, as the nearest Gaussian is."""
    positions = session.model.gaussians.positions
    return [mesh.values_of(positions, members.cpu().double().numpy()) for members in session.model.parts.membership]


def _nearest(session: Session, mesh: Mesh, of_gaussians: Tensor) -> NDArray[np.float64]:
    return mesh.values_of(session.model.gaussians.positions, of_gaussians.double().numpy())


def _local_gain(path: Path, points: Tensor) -> NDArray[np.float64] | None:
    """(m,) local gain at points (m, 3) A; None where there is no map of it."""
    if not path.is_file():
        return None
    gain = read_volume(path)
    box = gain.data.shape[0]
    places = points / gain.pixel_size_angstroms + box // 2  # voxels
    grid = (2 * places / (box - 1) - 1)[None, None, None]
    values = torch.nn.functional.grid_sample(gain.data[None, None].float(), grid, align_corners=True)
    return np.asarray(values[0, 0, 0, 0].double().numpy())


def _byte_scale(values: NDArray[np.float64]) -> Packed:
    """Values from 0 on in 255 steps up to the largest."""
    return pack(values, step=max(float(values.max(initial=0.0)) / _BYTE, 1e-6), neighbours=True)
