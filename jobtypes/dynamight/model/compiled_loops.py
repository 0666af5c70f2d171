"""The operations of a `Backend` in compiled loops, for tensors on the CPU."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from jobtypes.dynamight.model import loops

# A few images are rendered at a time: about as many numbers as stay in a core's own cache.
NUMBERS_IN_CACHE = 1 << 19


class CompiledLoops:
    """See `Backend`."""

    def particles_together(self, numbers: int) -> int:
        """As many as stay in the caches of all cores that are used."""
        return max(1, torch.get_num_threads() * NUMBERS_IN_CACHE // numbers)

    def occupied_rows(self, points: Tensor, turns: Tensor, shifts: Tensor, size: int) -> range:
        """Half of them or so, mostly."""
        ends = np.stack(loops.over_particles(loops.rows, (points, turns, shifts), size))
        # one more on both sides, for the place of a point is worked out with other roundings there
        return range(max(int(ends[:, 0].min()) - 1, 0), min(int(ends[:, 1].max()) + 3, size))

    def splat(self, points: Tensor, turns: Tensor, shifts: Tensor, amplitudes: Tensor, height: int, width: int) -> Tensor:
        """See `Backend`."""
        images = points.new_empty(len(turns), amplitudes.shape[-2], height * width)
        of_each = amplitudes if amplitudes.ndim == 3 else amplitudes[None]
        loops.over_particles(loops.splat, (points, turns, shifts, of_each, images), width)
        return images.view(*images.shape[:-1], height, width)

    def splat_adjoint(
        self, points: Tensor, turns: Tensor, shifts: Tensor, amplitudes: Tensor, images: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """See `Backend`."""
        of_points = points.new_empty(len(turns), *points.shape[1:])
        of_turns, of_shifts = torch.empty_like(turns), torch.empty_like(shifts)
        particles = (points, turns, shifts, images.flatten(-2).contiguous(), of_points, of_turns, of_shifts)
        of_amplitudes = loops.over_particles(loops.splat_adjoint, particles, amplitudes, images.shape[-1])
        return of_points, of_turns, of_shifts, torch.from_numpy(sum(of_amplitudes))

    def interpolate(self, images: Tensor, points: Tensor, turns: Tensor, shifts: Tensor) -> Tensor:
        """See `Backend`."""
        values = images.new_empty(len(images), points.shape[1])
        loops.over_particles(loops.interpolate, (images.contiguous(), turns, shifts, values), points)
        return values

    def pick(self, values: Tensor, index: Tensor, factor: Tensor) -> Tensor:
        """See `Backend`."""
        picked = values.new_empty(*values.shape[:-1], len(index))
        loops.over_particles(loops.pick, (_real_rows(values), _real_rows(picked)), index, factor)
        return picked

    def spread(self, picked: Tensor, index: Tensor, factor: Tensor, count: int) -> Tensor:
        """See `Backend`."""
        values = picked.new_empty(*picked.shape[:-1], count)
        loops.over_particles(loops.spread, (_real_rows(picked), _real_rows(values)), index, factor)
        return values

    def change_of_length(
        self, points: Tensor, length_at_rest: Tensor, first: Tensor, second: Tensor, small: float
    ) -> tuple[Tensor, Tensor]:
        """See `Backend`."""
        mean, forces = points.new_empty(len(points)), points.new_empty(len(points), 3, len(first))
        loops.over_particles(loops.change_of_length, (points, mean, forces), length_at_rest, first, second, small)
        return mean, forces

    def add_forces(self, forces: Tensor, weights: Tensor, first: Tensor, second: Tensor, n: int) -> Tensor:
        """See `Backend`."""
        totals = forces.new_empty(len(forces), 3, n)
        loops.over_particles(loops.add_forces, (forces, weights, totals), first, second)
        return totals

    def weighted_power(
        self, observed: Tensor, projected: Tensor, transfer: Tensor, weights: Tensor, group: Tensor, shares: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See `Backend`."""
        total, half_slope = transfer.new_empty(len(transfer)), torch.empty_like(projected)
        particles = (_as_real(observed), _as_real(projected), transfer, group, shares, total, torch.view_as_real(half_slope))
        power = loops.over_particles(loops.weighted_power, particles, weights, len(weights))
        return total, half_slope, torch.from_numpy(sum(power))


def _as_real(terms: Tensor) -> Tensor:
    """Complex numbers (...) as real ones (..., 2)."""
    return torch.view_as_real(terms.resolve_conj().contiguous())


def _real_rows(terms: Tensor) -> Tensor:
    """Complex numbers (b, c, s) as real ones (b c, s, 2)."""
    return _as_real(terms).flatten(0, 1)
