"""One half set seen from a state: the particles around it, each deformed from the state to its own, summed and solved.

The operator is that of the deformed reconstruction, with the state in the place of the consensus and each particle's weight times
its kernel. The same sums without any deformation give the plain map.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from jobtypes.common.particle_images import ParticleImages
from jobtypes.common.team import ALONE, Crew
from jobtypes.dynamight.backprojection.bins import Binning
from jobtypes.dynamight.backprojection.conjugate_gradients import Solution
from jobtypes.dynamight.backprojection.half_problem import HalfProblem, bins_of, build_half_problem
from jobtypes.dynamight.backprojection.normal_equations import Reconstruction, TotalSums, own_bins
from jobtypes.dynamight.backprojection.particle_pass import ParticleViews, add_particles
from jobtypes.dynamight.backprojection.progress import Counter
from jobtypes.dynamight.backprojection.slices import SlicePlane
from jobtypes.dynamight.backprojection.sums_store import HalfSums, SumsStore
from jobtypes.dynamight.backprojection.warp import Deformation, Order
from jobtypes.dynamight.model.result import HalfResult

_TOLERANCE = 1.5e-3  # as the half maps of the consensus


@dataclass(frozen=True)
class SolvedHalf:
    """Half maps of one state.

    Attributes
    ----------
    deformed, plain : (N, N, N)
        With and without the particles' deformations, of the same particles with the same weights; on the CPU.
    residual
        Of the worse of the two solves, over that of a map of zeros.
    """

    deformed: Tensor
    plain: Tensor
    residual: float


@dataclass(frozen=True)
class HowToSolve:
    """What is the same for all maps.

    Attributes
    ----------
    binning, order, batch_size, iterations
        Of the deformed reconstruction.
    crew
        The processes that share a half set.
    """

    binning: Binning
    order: Order
    batch_size: int
    iterations: int
    crew: Crew = ALONE


def seen_from(result: HalfResult, state: Tensor, particles: Tensor) -> HalfResult:
    """Some particles (m,) of a half set, with the state of coefficients (K,) as consensus.

    Coefficients count from the consensus of the model, which stays as it is.
    """
    model = copy.deepcopy(result.model)
    model.set_reference(state.to(model.gaussians.positions))
    rows = result.rows[particles.cpu().numpy()]
    names = ("latent_mean", "latent_log_variance", "angles_matrices", "shifts_angstroms", "quality", "scale", "presence")
    some = {name: getattr(result, name)[particles] for name in (*names, "rms_displacement")}
    # no verdict is held here: all particles make the map
    return replace(result, model=model, rows=rows, held_out=np.zeros(len(rows), dtype=bool), latent_by_other=None, **some)


def problem_at(
    result: HalfResult, state: Tensor, weights: Tensor, images: ParticleImages, plane: SlicePlane, how: HowToSolve
) -> HalfProblem:
    """The least-squares problem of a state of coefficients (K,), the same in all processes that share the half set.

    `weights` (n_h,): what each particle counts; those of 0, and what is rather something else than the molecule, are left out.
    """
    particles = torch.nonzero((weights > 0) & result.good.cpu()).squeeze(1)
    seen = seen_from(result, state, particles.to(result.quality.device))
    views = ParticleViews(
        images,
        seen.rows,
        seen.angles_matrices,
        seen.shifts_angstroms,
        plane=plane,
        quality=(seen.quality.cpu() * weights[particles]).float(),
        scale=seen.scale.cpu(),
    )
    bins = how.crew.from_first(lambda: bins_of(seen, how.binning, images.table.pixel_size_angstroms))
    return build_half_problem(seen, views, bins=bins, order=how.order, batch_size=how.batch_size)


def solve_state(
    problem: HalfProblem, store: SumsStore, part: str, how: HowToSolve, counter: Callable[[str, int, str], Counter]
) -> SolvedHalf:
    """Sum the particles under the name `part`, solve for both maps, and drop the sums.

    `counter` makes of a stage, the whole of it and its unit what is called as it goes on: progress and abort.
    """
    members, own = problem.members(held_out=False), own_bins(len(problem.bins), how.crew)
    add_particles(
        problem.views,
        members,
        store,
        half=problem.half,
        part=part,
        batch_size=how.batch_size,
        after_batch=counter("particles", sum(len(members[m]) for m in own), "particles"),
        own=own,
    )
    sums = HalfSums(store, problem.half, part, len(problem.bins), problem.views.plane.cycles.device)
    total = TotalSums(sums, how.crew)
    after_bin = counter("map", (how.iterations + 1) * len(own), "bins")

    def solve(deformations: Sequence[Deformation] | None, counted: int) -> Solution:
        reconstruction = Reconstruction(sums, total, deformations, after_bin=partial(after_bin, counted), crew=how.crew)
        return reconstruction.solve(iterations=how.iterations, tolerance=_TOLERANCE)

    deformed, plain = solve(problem.deformations, 1), solve(None, 0)
    for m in own:
        store.drop((problem.half, part, m))
    store.save()  # removes their files
    return SolvedHalf(deformed.volume.cpu(), plain.volume.cpu(), max(deformed.residual, plain.residual))
