"""How long a reconstruction will take, said before it runs: its pieces are timed once at its own box and counted."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from jobtypes.common.devices import wait_for
from jobtypes.common.durations import duration_in_words, two_figures
from jobtypes.common.fourier import irfft3, rfft3
from jobtypes.common.padded_grid import padded_spectrum
from jobtypes.dynamight.backprojection.ball import Ball
from jobtypes.dynamight.backprojection.bins import Bins
from jobtypes.dynamight.backprojection.deformation_basis import voxel_positions, voxels_near
from jobtypes.dynamight.backprojection.particle_pass import ParticleViews
from jobtypes.dynamight.backprojection.slices import SliceGrid, normal_operator
from jobtypes.dynamight.backprojection.warp import Order, Warp
from jobtypes.dynamight.model.displacement import TAPER_END_ANGSTROMS, Field
from jobtypes.dynamight.model.result import ForwardResult

# How often the solves for the verdict, for its regularised maps and for the final maps apply the operator, as simulated sets of
# hundreds of particles or more need it; the fewer particles, the nearer to the most that is allowed.
_USUAL_APPLICATIONS = (6, 4, 6)
_PARTS = 2  # sums are finished once without the held-out particles and once with them
_SAMPLE_PARTICLES, _SAMPLE_VOXELS = 8, 1 << 18
_COARSE_BOX = 64  # on which voxels that move are counted


@dataclass(frozen=True)
class Costs:
    """Seconds of the pieces of a reconstruction.

    Attributes
    ----------
    particle
        An image read and summed.
    bin
        The sums of a bin finished.
    product
        An application of the normal operator.
    warp
        A map pushed and another pulled back.
    iteration
        What a solve does once an iteration: the prior and the preconditioner.
    state
        The padded spectrum of a state.
    tabulation
        The field of a half on the voxels that move.
    """

    particle: float
    bin: float
    product: float
    warp: float
    iteration: float
    state: float
    tabulation: float


@dataclass(frozen=True)
class TimePlan:
    """Seconds of a whole reconstruction.

    Attributes
    ----------
    costs
        Of its pieces.
    n_particles, n_held_out
        Of both halves.
    n_bins
        Of each half.
    iterations
        Most of a solve.
    processes
        That share the work.
    """

    costs: Costs
    n_particles: int
    n_held_out: int
    n_bins: tuple[int, ...]
    iterations: int
    processes: int = 1

    @property
    def summing_seconds(self) -> float:
        """All images into sums, and the held-out ones judged."""
        return self.costs.particle * (self.n_particles + self.n_held_out) + _PARTS * sum(self.n_bins) * self.costs.bin

    def solving_seconds(self, applications: Sequence[int]) -> float:
        """Solves of so many applications each, rigid and deformed."""
        deformed = sum(self.n_bins) * (self.costs.product + self.costs.warp)
        rigid = len(self.n_bins) * self.costs.product
        return sum(applications) * (deformed + rigid + 2 * len(self.n_bins) * self.costs.iteration)

    @property
    def other_seconds(self) -> float:
        """Fields tabulated, and states of held-out particles."""
        states = sum(self.n_bins) * (self.costs.state + self.costs.warp / 2) if self.n_held_out else 0.0
        return states + len(self.n_bins) * self.costs.tabulation

    @property
    def usual_seconds(self) -> float:
        """With as many iterations as solves mostly take."""
        return self._seconds([min(usual, self.iterations) for usual in _USUAL_APPLICATIONS])

    @property
    def most_seconds(self) -> float:
        """With as many as they may take, and one more for the residual of a start."""
        return self._seconds([self.iterations, self.iterations + 1, self.iterations + 1])

    def sentence(self) -> str:
        """Say the plan in words."""
        summing = duration_in_words(self.summing_seconds / self.processes)
        return (
            f"Time: about {duration_in_words(self.usual_seconds)} (at most {duration_in_words(self.most_seconds)}), of which "
            f"{summing} to sum the particles; counted from one bin and a few particles that were timed: "
            f"{two_figures(1000 * self.costs.particle)} ms for a particle, {two_figures(1000 * self.costs.bin)} ms for a bin, "
            f"{two_figures(1000 * (self.costs.product + self.costs.warp))} ms for a bin in an iteration."
        )

    def _seconds(self, applications: Sequence[int]) -> float:
        # without held-out particles nothing is judged, and the final solve is the only one
        solves = applications if self.n_held_out else applications[-1:]
        return (self.summing_seconds + self.solving_seconds(solves) + self.other_seconds) / self.processes


def measure_costs(
    views: ParticleViews,
    field: Field,
    gaussians: Tensor,
    *,
    order: Order,
    n_moving: int,
    clock: Callable[[], float] = time.perf_counter,
) -> Costs:
    """Time the pieces at the box of the particles.

    Parameters
    ----------
    views
        Particles, a few of which are read.
    field
        Deformations.
    gaussians : (n, 3) A
    order
        Interpolation of warps.
    n_moving
        Voxels that move; 0: nothing does.
    clock
        Gives seconds.
    """
    seconds = _Watch(views.plane.cycles.device, clock).seconds
    _compile(views.plane.cycles.device, order)
    grid = SliceGrid(views.plane)
    members = np.arange(min(_SAMPLE_PARTICLES, len(views.rows)))

    def add(some: np.ndarray) -> None:
        read = views.read(some)
        grid.insert(read.data, read.weight, read.rotations)

    add(members[:1])
    members = members[: views.particles_together(len(members))]
    of_particles, _ = seconds(lambda: add(members))
    of_bin, (volume, weights) = seconds(lambda: (grid.numerator(), grid.weights()))
    product = min(seconds(lambda: normal_operator(volume, weights))[0] for _ in range(2))  # the first takes its memory
    iteration = 2 * seconds(lambda: irfft3(rfft3(volume), len(volume)))[0]
    state, _ = seconds(lambda: padded_spectrum(volume))
    warp, tabulation = 0.0, 0.0
    if n_moving:
        pixel_size_angstroms = views.images.table.pixel_size_angstroms
        column = _column(views.plane.box, n_moving).to(volume.device)
        points = voxel_positions(column, views.plane.box, pixel_size_angstroms).to(gaussians)
        share = n_moving / len(column)
        of_points, fields = seconds(lambda: field.basis(points) / pixel_size_angstroms)
        warp, tabulation = _warp_seconds(seconds, volume, column, fields, order=order, share=share), share * of_points
    return Costs(of_particles / len(members), of_bin, product, warp, iteration, state, tabulation)


def count_moving(gaussians: Tensor, *, box: int, pixel_size_angstroms: float) -> int:
    """About how many voxels a field that ends around Gaussians (n, 3) A moves, counted on a coarser grid."""
    step = max(1, box // _COARSE_BOX)
    near = voxels_near(
        gaussians,
        box=-(-box // step),
        pixel_size_angstroms=pixel_size_angstroms * step,
        reach_angstroms=TAPER_END_ANGSTROMS,
    )
    return min(len(near) * step**3, box**3)


def moving_voxels(forward: ForwardResult, bins: Mapping[int, Bins]) -> dict[int, int]:
    """About how many voxels move, of each half set with its bins."""
    box, pixel = forward.box, forward.pixel_size_angstroms
    return {
        half: count_moving(part.model.gaussians.positions, box=box, pixel_size_angstroms=pixel)
        if bins[half].rms_motion_angstroms > 0
        else 0
        for half, part in forward.halves.items()
    }


class _Watch:
    """Times calls on a device."""

    def __init__(self, device: torch.device, clock: Callable[[], float]) -> None:
        self._device, self._clock = device, clock

    def seconds(self, call: Callable[[], Any]) -> tuple[float, Any]:
        """Seconds of a call, and what it returned."""
        begun = self._clock()
        result = call()
        wait_for(self._device)
        return self._clock() - begun, result


def _column(box: int, most: int) -> Tensor:
    """Voxels (m,), not many more than `most`, in a column along z in the middle of the box."""
    side = min(box, max(1, round((min(most, _SAMPLE_VOXELS) / box) ** 0.5)))
    middle = torch.arange(side) + (box - side) // 2
    return torch.cartesian_prod(torch.arange(box), middle, middle) @ torch.tensor([box * box, box, 1])


def _warp_seconds(
    seconds: Callable[[Callable[[], Any]], tuple[float, Any]],
    volume: Tensor,
    column: Tensor,
    fields: Tensor,
    *,
    order: Order,
    share: float,
) -> float:
    """Seconds of a warp, both ways, of `share` times as many voxels as the column has."""
    box, coefficients = volume.shape[0], fields.new_full((len(fields),), 1 / len(fields))
    still = Warp(column[:0], lambda: fields.new_zeros(0, 3), box, order=order)
    moving = Warp(column, lambda: torch.tensordot(coefficients, fields, dims=1), box, order=order)
    result = volume.clone()

    def move() -> None:
        moving.add_spread(result, volume)
        moving.read(volume)

    of_copies, _ = seconds(lambda: still.pull(still.push(volume)))
    return of_copies + share * min(seconds(move)[0] for _ in range(2))


def _compile(device: torch.device, order: Order) -> None:
    """Loops are compiled by their first call, which does not count."""
    box = 8
    volume, place = torch.zeros(box, box, box, device=device), torch.zeros(1, 3, device=device)
    warp = Warp(torch.zeros(1, dtype=torch.int64, device=device), lambda: place, box, order=order)
    normal_operator(warp.pull(warp.push(volume)), torch.zeros(len(Ball(box)), device=device))
