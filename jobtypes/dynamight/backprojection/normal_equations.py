"""The least-squares problem of a deformed reconstruction: (sum_m D_m* T_m D_m + prior) V = sum_m D_m* b_m.

image_i = C_i P_i D_m(i) V + noise, with D_m the deformation of the bin that particle i belongs to. T_m = sum_i P_i* C_i^2 P_i
is `slices.normal_operator` with the weights W_m, and b_m = sum_i P_i* C_i y_i a map, so that their cost does not depend on the
number of particles. With one bin and no deformation this is an ordinary CTF-weighted reconstruction on the absolute scale of the
data. No T_m is negative, hence neither is the sum of the D_m* T_m D_m, and the prior makes it positive.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from jobtypes.common.fourier import irfft3, rfft3, shell_average, shells_3d
from jobtypes.common.team import ALONE, Crew
from jobtypes.dynamight.backprojection.ball import ball_of
from jobtypes.dynamight.backprojection.ball_transforms import optimal_circulant
from jobtypes.dynamight.backprojection.conjugate_gradients import Solution, solve
from jobtypes.dynamight.backprojection.slices import normal_operator
from jobtypes.dynamight.backprojection.warp import Deformation, Identity

# Weight of the prior where nothing is known of the signal, over the mean weight of the data in the shell. RELION lets weights
# fall to 1/1000 of it; a fifth of that keeps the scale of the map within 2e-4 of that of the data.
WEAKEST_PRIOR = 2e-4
# Least power of a term to the preconditioner, over the mean of its shell. In the gaps between the views of few particles there is
# next to none, and its inverse would blow up what leaks there from the views, so that the first steps went into gaps. Where views
# lie densely no term has so little.
LEAST_POWER = 0.1


class BinSums(Protocol):
    """The sums of one half, bin by bin.

    Attributes
    ----------
    device
        Where they are used.
    """

    device: torch.device

    def __len__(self) -> int: ...

    def numerator(self, m: int) -> Tensor:
        """b_m, (N, N, N)."""

    def weights(self, m: int) -> Tensor:
        """W_m, (p,) in the ball, not negative."""


class TotalSums:
    """All bins as one: the sums of the rigid reconstruction.

    Parameters
    ----------
    sums
        Of the bins.
    crew
        The processes that share the bins; each adds up its own.
    """

    def __init__(self, sums: BinSums, crew: Crew = ALONE) -> None:
        own = own_bins(len(sums), crew)
        first = (sums.numerator(own[0]).clone(), sums.weights(own[0]).clone()) if own else None
        (shapes, *_) = crew.all_of(None if first is None else [tuple(tensor.shape) for tensor in first])
        self._numerator, self._weights = first or (torch.zeros(shape, device=sums.device) for shape in shapes)
        for m in own[1:]:
            self._numerator += sums.numerator(m)
            self._weights += sums.weights(m)
        crew.sum_(self._numerator, self._weights)
        self.device = self._numerator.device

    def __len__(self) -> int:
        return 1

    def numerator(self, m: int) -> Tensor:
        """Sum of all b_m."""
        return self._numerator

    def weights(self, m: int) -> Tensor:
        """Sum of all W_m."""
        return self._weights

    @cached_property
    def power(self) -> Tensor:
        """Eigenvalues (N, N, N // 2 + 1) of the circulant nearest to the sum of all T_m, but for the attenuation."""
        return optimal_circulant(self._weights, ball_of(self._numerator.shape[0], self._numerator.device))


class Reconstruction:
    """Solves for the map of one half.

    Parameters
    ----------
    sums
        b_m and T_m of each bin, any device.
    total
        Their sum, which preconditions the problem and scales its prior.
    deformations
        D_m of each bin; None: rigid.
    after_bin
        Called after every bin of every iteration: progress and abort.
    crew
        The processes that share the bins; each applies the operator to its own.
    """

    def __init__(
        self,
        sums: BinSums,
        total: TotalSums,
        deformations: Sequence[Deformation] | None = None,
        *,
        after_bin: Callable[[], None] | None = None,
        crew: Crew = ALONE,
    ) -> None:
        # all bins as one are no one's own: everybody has them
        self._crew = ALONE if deformations is None else crew
        self.sums: BinSums = total if deformations is None else sums
        self.deformations: Sequence[Deformation] = [Identity()] if deformations is None else deformations
        if len(self.sums) != len(self.deformations):
            raise ValueError(f"{len(self.sums)} bins but {len(self.deformations)} deformations")
        self._after_bin = after_bin or (lambda: None)
        self._right = right = total.numerator(0)
        self.box = right.shape[0]
        self._power = total.power  # (N, N, N // 2 + 1)
        self._shells = shells_3d(self.box, device=right.device)
        self._inside = 2 * self._shells < self.box
        self.shell_weight = shell_average(self._power, self._shells)  # (N // 2 + 1,)

    def right_side(self) -> Tensor:
        """sum_m D_m* b_m, (N, N, N)."""
        return self._over_bins(lambda m, deformation: deformation.pull(self.sums.numerator(m)))

    def solve(
        self,
        *,
        noise_to_signal: Tensor | None = None,
        start: Tensor | None = None,
        iterations: int = 10,
        tolerance: float = 1e-3,
        after_iteration: Callable[[int, float], None] | None = None,
    ) -> Solution:
        """Solve for the map.

        Parameters
        ----------
        noise_to_signal : (N // 2 + 1,)
            Prior of each shell in units of the data's mean weight there, (1 - FSC) / FSC of maps made of these data; None: the
            weakest prior that keeps the problem well posed, the same whatever the other half holds.
        start : (N, N, N)
            First guess; zero if not given.
        iterations, tolerance, after_iteration
            As in `conjugate_gradients.solve`.
        """
        ratio = torch.full_like(self.shell_weight, WEAKEST_PRIOR)
        if noise_to_signal is not None:
            ratio = torch.maximum(noise_to_signal.to(ratio), ratio)
        shell = self._shells.clamp_max(len(ratio) - 1)
        shell_weight = self.shell_weight[shell]
        prior = ratio[shell] * shell_weight
        power = torch.maximum(self._power, LEAST_POWER * shell_weight) + prior
        inverse = torch.where(self._inside, 1 / power.clamp_min(1e-30), torch.zeros_like(prior))

        def operator(volume: Tensor) -> Tensor:
            result = irfft3(rfft3(volume) * prior, self.box)
            return result + self._over_bins(
                lambda m, deformation: deformation.pull(normal_operator(deformation.push(volume), self.sums.weights(m)))
            )

        def precondition(volume: Tensor) -> Tensor:
            return irfft3(rfft3(volume) * inverse, self.box)

        return solve(
            operator,
            self.right_side(),
            precondition=precondition,
            start=start,
            iterations=iterations,
            tolerance=tolerance,
            after_iteration=after_iteration,
        )

    def _over_bins(self, term: Callable[[int, Deformation], Tensor]) -> Tensor:
        total = torch.zeros_like(self._right)
        for m in own_bins(len(self.deformations), self._crew):
            total += term(m, self.deformations[m])
            self._after_bin()
        self._crew.sum_(total)
        return total


def own_bins(n_bins: int, crew: Crew) -> range:
    """Bins of a process of a crew; where there are fewer bins than processes, the last ones have none."""
    return range(crew.place, n_bins, crew.count)


def noise_to_signal(fsc: Tensor, *, smallest_fsc: float = 1e-3) -> Tensor:
    """(1 - FSC) / FSC, the prior of `Reconstruction.solve`; beyond the first shell that falls below 0 nothing is believed.

    Source: Scheres 2012 (RELION): SSNR = FSC / (1 - FSC) of half maps gives the prior of maps from as many data.
    """
    believed = fsc.clone()
    lost = torch.nonzero(fsc <= 0).flatten()
    if len(lost):
        believed[int(lost[0]) :] = 0
    believed = believed.clamp(smallest_fsc, 1.0)
    believed[0] = 1.0
    return (1 - believed) / believed


def wiener_filter(volume: Tensor, fsc: Tensor) -> Tensor:
    """Map of all data, filtered by its half-map FSC: each shell times 2 FSC / (1 + FSC), nothing beyond the first FSC <= 0."""
    box = volume.shape[0]
    ratio = noise_to_signal(fsc, smallest_fsc=1e-6)
    gain = 2 / (2 + ratio)
    gain = torch.cat((torch.where(ratio < 1e5, gain, torch.zeros_like(gain)), gain.new_zeros(1)))
    shells = shells_3d(box, device=volume.device).clamp_max(len(gain) - 1)
    return irfft3(rfft3(volume) * gain.to(volume)[shells], box)
