"""What is wrong with which particle: shares -> a plan with one row per particle.

All is drawn for every particle, whatever the shares, so that one option changes nothing of what another does.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from jobtypes.simulate.geometry import Array, Poses, side_views
from jobtypes.simulate.optics import Optics
from jobtypes.simulate.options import Nuisances

GOOD, EMPTY, OTHER, WRONG_POSE, NEIGHBOUR, SPECK = range(6)
KIND_NAMES = ("good", "empty", "other molecule", "wrong pose", "neighbour", "speck")
JUNK = (EMPTY, OTHER, WRONG_POSE)  # not our molecule at the pose of the STAR file

# a neighbour's centre lies just beyond the edge or in a corner
NEIGHBOUR_DISTANCE_BOXES = (0.5, 0.65)
SPECK_PEAKS = (6.0, 15.0)


@dataclass(frozen=True)
class Plan:
    """What each of p particles is.

    Parameters
    ----------
    kind
        (p,) `GOOD`, `EMPTY`, `OTHER`, `WRONG_POSE`, `NEIGHBOUR` or `SPECK`.
    has_arm
        (p,) whether the first arm is there.
    is_side_view
        (p,) whether it is seen from the side.
    amplitude
        (p,) of our molecule in the image, 1 on average; 0 where it is not there.
    defocus_error_angstroms
        (p,) STAR file minus truth.
    views
        (p, 3, 3) what its orientation is if it is seen from the side.
    stray
        (p, 3, 3) random orientation: that in the STAR file of junk, that of a neighbour.
    neighbour_boxes
        (p, 2) centre of a neighbour from the image's centre, x y, in box edges.
    speck_boxes
        (p, 2) the same of a speck.
    speck_peak
        (p,) its height over the standard deviation of the noise.
    """

    kind: NDArray[np.int64]
    has_arm: NDArray[np.bool_]
    is_side_view: NDArray[np.bool_]
    amplitude: Array
    defocus_error_angstroms: Array
    views: Array
    stray: Array
    neighbour_boxes: Array
    speck_boxes: Array
    speck_peak: Array

    @property
    def is_clean(self) -> NDArray[np.bool_]:
        """(p,) nothing is wrong: good, whole."""
        clean: NDArray[np.bool_] = (self.kind == GOOD) & self.has_arm
        return clean

    def true_poses(self, poses: Poses) -> Poses:
        """Poses in all directions -> those that the images are made with: some are seen from the side."""
        return poses.turned_where(self.is_side_view, self.views)

    def observed_poses(self, poses: Poses) -> Poses:
        """Poses as refined -> those of the STAR file: junk and wrong poses have a random orientation."""
        return poses.turned_where(np.isin(self.kind, JUNK), self.stray)

    def observed_optics(self, optics: Optics) -> Optics:
        """Optics that the images are made with -> those of the STAR file."""
        return replace(
            optics,
            defocus_u_angstroms=optics.defocus_u_angstroms + self.defocus_error_angstroms,
            defocus_v_angstroms=optics.defocus_v_angstroms + self.defocus_error_angstroms,
        )


def draw_plan(nuisances: Nuisances, particles: int, rng: np.random.Generator) -> Plan:
    """Draw what each of `particles` particles is."""
    borders = np.cumsum((0.0, *nuisances.fault_shares))
    # u below the sum of the shares is a fault; GOOD is what lies beyond the last border
    kind = np.searchsorted(borders, rng.uniform(0, 1, particles), side="right") % len(borders)
    has_arm = rng.uniform(0, 1, particles) >= nuisances.missing_arm_share
    is_side_view = rng.uniform(0, 1, particles) < nuisances.side_view_share
    # log-normal: positive, of mean 1
    variance = np.log1p(nuisances.amplitude_spread**2)
    amplitude = np.exp(np.sqrt(variance) * rng.normal(size=particles) - variance / 2)
    distance, angle = rng.uniform(*NEIGHBOUR_DISTANCE_BOXES, particles), rng.uniform(0, 2 * np.pi, particles)
    return Plan(
        kind=kind,
        has_arm=has_arm,
        is_side_view=is_side_view,
        amplitude=np.where(np.isin(kind, (EMPTY, OTHER)), 0.0, amplitude),
        defocus_error_angstroms=nuisances.defocus_error * rng.normal(size=particles),
        views=side_views(particles, rng),
        stray=Rotation.random(particles, random_state=rng).as_matrix(),
        neighbour_boxes=distance[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1),
        speck_boxes=rng.uniform(-0.5, 0.5, (particles, 2)),
        speck_peak=rng.uniform(*SPECK_PEAKS, particles),
    )
