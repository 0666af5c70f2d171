"""What a page holds of one half set, and how a state of one half set is found in the other."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from jobtypes.dynamight.visualization.figures import cameras_for
from jobtypes.dynamight.visualization.held_out import HeldOutParticles
from jobtypes.dynamight.visualization.page.latent_space import latent_space_of, network_of
from jobtypes.dynamight.visualization.page.packing import pack_floats
from jobtypes.dynamight.visualization.page.surfaces import surfaces_of
from jobtypes.dynamight.visualization.session import Session
from relion_jobs.contract.errors import UserError

_RIDGE = 1e-4  # of the largest motion's power: motions of the other half that are seen by so little here are left at rest


def half_content(
    session: Session, other: Session, held_out: HeldOutParticles | None, *, embedding: str, n_clusters: int, seed: int
) -> dict[str, Any]:
    """One half set in the page.

    Raises
    ------
    UserError
        No contour level of its map has a surface, or the embedding needs a package that is not there.
    """
    surfaces = list(surfaces_of(session, held_out))
    if not surfaces:
        raise UserError(f"The map of half {session.half} has no surface at any contour level; is it empty?")
    drawings = [session.reduction(embedding, seed=seed)] if embedding in ("umap", "ica") else []
    return {
        "half": session.half,
        "motions_rms": [float(rms) for rms in session.motions.rms_angstroms],
        "ends": session.coordinates.double().quantile(torch.tensor((0.02, 0.98), dtype=torch.float64), dim=0).T.tolist(),
        "rotation": _front(session).tolist(),
        "parts": list(session.part.part_numbers),
        "network": network_of(session),
        "surfaces": surfaces,
        "particles": latent_space_of(session, drawings, n_clusters=n_clusters, seed=seed),
        "to_other": pack_floats(map_to_other(session, other).numpy()),
    }


@torch.no_grad()
def map_to_other(session: Session, other: Session) -> Tensor:
    """(D', D) that turns coordinates (D,) A of a half set into those (D',) of the other that move its density most alike.

    Least squares over the density of the first; both halves are taken about their mean state.
    """
    points = session.model.gaussians.positions
    weights = session.model.gaussians.amplitudes.cpu().double()
    weights = weights / weights.sum()
    here = _motions_at(session, points)
    there = _motions_at(other, points)
    gram = torch.einsum("n,dnc,enc->de", weights, there, there)
    across = torch.einsum("n,dnc,enc->de", weights, there, here)
    ridge = _RIDGE * float(gram.diagonal().max()) * torch.eye(len(gram), dtype=gram.dtype)
    mapped: Tensor = torch.linalg.solve(gram + ridge, across)
    return mapped


def _motions_at(session: Session, points: Tensor) -> Tensor:
    """(D, n, 3) the main motions at points (n, 3) A."""
    basis = session.model.field.basis(points.to(session.coefficients.device)).cpu().double()
    return torch.einsum("dk,knc->dnc", session.motions.from_coordinates.double(), basis)


def _front(session: Session) -> Tensor:
    """(3, 3) directions that point right, up and towards the viewer, so that the first main motion is seen best."""
    first, last = (session.state_positions(end) for end in session.traversal(0, 2))
    front, _ = cameras_for(torch.cat((first, last)), last - first)
    return front.rotation
