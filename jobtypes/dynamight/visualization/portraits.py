"""What draws states: the portrait of each, and the scene that is common to several."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from jobtypes.dynamight.model.gaussians import automatic_threshold
from jobtypes.dynamight.visualization.figures import Portrait, Scene, cameras_for
from jobtypes.dynamight.visualization.session import Session


def portrait_of(
    session: Session,
    coordinates: Tensor,
    relative_to: Tensor | None = None,
    *,
    label: str = "",
    lacking: Sequence[int] = (),
) -> Portrait:
    """The state at coordinates (D,) as it is drawn; coloured by displacement from positions (n, 3) A, or the consensus.

    `lacking`: numbers of the parts that are missing in it.
    """
    positions = session.state_positions(coordinates)
    origin = session.model.gaussians.positions.cpu() if relative_to is None else relative_to
    outside = bool(session.outside(coordinates[None])[0])
    return Portrait(session.state_map(coordinates, lacking), positions, (positions - origin).norm(dim=1), label, outside)


def scene_of(session: Session, portraits: Sequence[Portrait], motion: Tensor) -> Scene:
    """Cameras that show a motion (n, 3) A best and hold all states, one contour level, one colour scale."""
    cameras = cameras_for(torch.cat([portrait.positions for portrait in portraits]), motion)
    level = automatic_threshold(portraits[len(portraits) // 2].volume)
    largest = max([float(portrait.rms.quantile(0.99)) for portrait in portraits if not portrait.outside], default=0.0)
    return Scene(cameras, level, max(largest, 0.5), session.pixel_size_angstroms)
