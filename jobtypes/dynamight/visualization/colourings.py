"""What colours the particles in a drawing of the latent space: a number in a named unit, or a colour of its own, for each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from matplotlib import colormaps
from numpy.typing import NDArray
from torch import Tensor

from jobtypes.dynamight.outputs import rms_of_gaussians
from jobtypes.dynamight.visualization.session import Session


@dataclass(frozen=True)
class Colouring:
    """Values of all particles of a session.

    Attributes
    ----------
    label
        What is shown, with its unit.
    kind
        ``amount``: a number per particle, nan where there is none; ``colour``: red, green and blue; ``counts`` and
        ``log counts``: particles per cell of the drawing, no values.
    values
        (P,), (P, 3) from 0 to 1, or empty.
    """

    label: str
    kind: Literal["amount", "colour", "counts", "log counts"]
    values: NDArray[np.float64]


def amount_of_motion(session: Session) -> Colouring:
    """Rms displacement of each particle's Gaussians from the consensus."""
    return Colouring("rms displacement (Å)", "amount", session.part.rms_displacement.cpu().numpy().astype(np.float64))


def direction_of_motion(session: Session) -> Colouring:
    """Which way the mobile part of the molecule is displaced: +x is red, +y green, +z blue, and their opposites lack it."""
    mobility = rms_of_gaussians(session.part) * session.model.gaussians.amplitudes
    fields = torch.einsum("n,knc->kc", mobility / mobility.sum().clamp(min=1e-12), session.gaussians.basis)
    mean = (_centred(session) @ fields).cpu().numpy().astype(np.float64)  # (P, 3) A
    unit = mean / np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-9)
    return Colouring("direction: red +x, green +y, blue +z", "colour", (1 + unit) / 2)


def location_of_motion(session: Session) -> Colouring:
    """Where in the molecule the displacement is: its mean position, from one end of the molecule to the other, as red (x) ..."""
    basis, positions, amplitudes = session.gaussians.basis, session.model.gaussians.positions, session.model.gaussians.amplitudes
    ends = torch.quantile(positions, positions.new_tensor((0.02, 0.98)), dim=0)
    share = ((positions - ends[0]) / (ends[1] - ends[0]).clamp(min=1e-6)).clamp(0, 1)
    columns = torch.cat((torch.ones_like(share[:, :1]), share), dim=1) * amplitudes[:, None]  # (n, 4)
    forms = torch.einsum("nj,knc,lnc->jkl", columns, basis, basis)
    coefficients = _centred(session)
    moments = torch.stack([((coefficients @ form) * coefficients).sum(1) for form in forms], dim=1)  # (P, 4)
    middle = moments[:, 1:] / moments[:, :1].clamp(min=1e-9)
    return Colouring("location: red x, green y, blue z", "colour", middle.clamp(0, 1).cpu().numpy().astype(np.float64))


def viewing_direction(session: Session) -> Colouring:
    """Axis along which the particle is seen; opposite views have one colour. An even mixture is what an honest motion shows."""
    views = session.part.angles_matrices[:, 2].abs().cpu().numpy().astype(np.float64)  # A^T z: third row of A
    return Colouring("viewing axis: red x, green y, blue z", "colour", np.clip(views, 0, 1))


def shift(session: Session) -> Colouring:
    """Length of the refined shift of the projection."""
    return Colouring("shift (Å)", "amount", session.part.shifts_angstroms.norm(dim=1).cpu().numpy().astype(np.float64))


def density(session: Session) -> Colouring:
    """Particles per cell of the drawing."""
    return Colouring("particles per cell", "counts", np.zeros(0))


def log_density(session: Session) -> Colouring:
    """Particles per cell of the drawing, on a logarithmic scale."""
    return Colouring("particles per cell (log)", "log counts", np.zeros(0))


def cluster(session: Session, count: int = 4, seed: int = 1) -> Colouring:
    """Cluster of each particle; see `Session.clusters`."""
    labels = session.clusters(count, seed).labels
    return Colouring(f"cluster (1 to {labels.max() + 1})", "colour", colormaps["Set2"](labels % 8)[:, :3])


def held_out_error(particles: NDArray[np.int64], errors_angstroms: Tensor, total: int) -> Colouring:
    """Disagreement of the halves' models.

    Parameters
    ----------
    particles : (m,)
        Held-out particles of the session.
    errors_angstroms : (m,)
        Rms over the Gaussians of the difference between the models' displacements.
    total
        Particles P of the session; those that trained the model have no value.
    """
    values = np.full(total, np.nan)
    values[particles] = errors_angstroms.cpu().numpy()
    return Colouring("disagreement of the halves (Å)", "amount", values)


def _centred(session: Session) -> Tensor:
    return session.coefficients - session.coefficients.mean(0)


COLOURINGS: dict[str, Callable[[Session], Colouring]] = {
    "amount of motion": amount_of_motion,
    "direction of motion": direction_of_motion,
    "location of motion": location_of_motion,
    "density": density,
    "log density": log_density,
    "pose": viewing_direction,
    "shift": shift,
    "cluster": cluster,
}
HELD_OUT_ERROR = "held-out error"  # needs the other half's model: see `validation.both_models`
