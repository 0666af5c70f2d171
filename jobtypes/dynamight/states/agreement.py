"""What half maps, model and plain particles say about a state.

A map into which deformations went shows what these say, and a latent that was read off an image describes its noise as well. So a
map of one half set is compared with what the model of the *other* one draws, which has never seen its images. And that
the state is there is asked of the particles without any deformation: those around the state against all of them. The models say
how that change should look, blur and all; the share of it that the plain maps show is 1 where the motion is in the images, and
0 where only the model believes in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import nan

import torch
from torch import Tensor

from jobtypes.common.conventions import HALVES
from jobtypes.common.fourier import irfft3, rfft3, shells_3d
from jobtypes.dynamight.backprojection.bins import Bins
from jobtypes.dynamight.backprojection.local_gain import local_correlation
from jobtypes.dynamight.visualization.session import Session

HalfMaps = Mapping[int, Tensor]  # (N, N, N) by half


@dataclass(frozen=True)
class Shown:
    """How much of the change that the models draw the plain maps show: a share, and the standard error of its two halves.

    Nan where the particles around the state are all particles.
    """

    share: float
    error: float

    @property
    def is_doubtful(self) -> bool:
        """Whether less than half of the change is there, by two standard errors."""
        return self.share + 2 * self.error < 0.5


def agreement_of_halves(maps: HalfMaps, region: Tensor, pixel_size_angstroms: float) -> float:
    """Mean over a region (N, N, N) of the local correlation of half maps, of details finer than 20 A."""
    local = local_correlation(maps[1], maps[2], pixel_size_angstroms=pixel_size_angstroms)
    return float((local * region).sum() / region.sum())


def agreement_with_models(maps: HalfMaps, drawn: HalfMaps, region: Tensor, finest_shell: int) -> float:
    """Mean correlation in a region of each half's map with what the other half's model draws, up to a shell."""
    found = [correlation(low_passed(maps[half], finest_shell), drawn[3 - half], region) for half in HALVES]
    return sum(found) / len(found)


def correlation(first: Tensor, second: Tensor, region: Tensor) -> float:
    """Of two maps (N, N, N), weighted by a region."""
    share = region / region.sum()
    a, b = (volume - (share * volume).sum() for volume in (first, second))
    power = (share * a * a).sum() * (share * b * b).sum()
    return float((share * a * b).sum() / power.sqrt().clamp_min(1e-30))


def low_passed(volume: Tensor, finest_shell: int) -> Tensor:
    """A map (N, N, N) without the shells beyond one."""
    kept = shells_3d(volume.shape[0], device=volume.device) <= finest_shell
    passed: Tensor = irfft3(rfft3(volume) * kept, volume.shape[0])
    return passed


class DrawnMixtures:
    """Maps that a half set's model draws of many particles at once, without their deformations: blurred.

    Parameters
    ----------
    session, bins
        The half set, and its particles in groups of like deformation, each drawn as one.
    """

    def __init__(self, session: Session, bins: Bins) -> None:
        self._session, self._bins = session, bins

    def of(self, weights: Tensor) -> Tensor:
        """Mean maps (r, N, N, N) of the particles, each with r weights (r, P)."""
        labels, centres = self._bins.labels, self._bins.centres
        shares = weights.new_zeros(len(weights), len(centres)).index_add(1, labels, weights)
        shares = (shares / shares.sum(1, keepdim=True)).float()
        gaussians = self._session.gaussians
        total: Tensor = torch.zeros(len(weights), *(gaussians.box,) * 3)
        for share, centre in zip(shares.T, centres.to(gaussians.basis), strict=True):
            total += share[:, None, None, None] * gaussians.state(centre).cpu()
        return total


@dataclass(frozen=True)
class PlainChange:
    """Plain maps of a half set, of the particles around a state and of all, and what its model says of both.

    Attributes
    ----------
    here, everywhere, drawn_here, drawn_everywhere : (N, N, N)
    """

    here: Tensor
    everywhere: Tensor
    drawn_here: Tensor
    drawn_everywhere: Tensor


def shown(changes: Mapping[int, PlainChange], region: Tensor, finest_shell: int) -> Shown:
    """Share of the change that plain maps show of what the other half's model draws, by least squares in a region."""
    shares = []
    for half in HALVES:
        seen, model = changes[half], changes[3 - half]
        here, everywhere = (low_passed(volume, finest_shell) for volume in (seen.here, seen.everywhere))
        scale = (region * everywhere * model.drawn_everywhere).sum() / (region * model.drawn_everywhere.square()).sum()
        expected = scale * (model.drawn_here - model.drawn_everywhere)
        power = (region * expected.square()).sum()
        shares.append(float((region * expected * (here - everywhere)).sum() / power) if power > 0 else nan)
    return Shown(sum(shares) / 2, abs(shares[0] - shares[1]) / 2)


def unseen() -> Shown:
    """Where there is nothing to compare."""
    return Shown(nan, nan)


def nearest_shell(resolution_angstroms: float, box: int, pixel_size_angstroms: float) -> int:
    """Shell of a resolution, at most that of Nyquist."""
    return min(box // 2, int(torch.tensor(box * pixel_size_angstroms / resolution_angstroms).round()))
