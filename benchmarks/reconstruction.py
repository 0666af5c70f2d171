"""Time of a whole deformed reconstruction at several boxes: its pieces, what they cost at least, and the plan that adds them up.

The baseline of each piece, in the same run, is what it replaced: whole tensors, one pass over memory for each neighbour of a
voxel or a Fourier term, and the padded grid with all its corners. The floor counts operations and bytes at the speed of a large
matrix product and of a copy, whichever takes longer. The plan is that of a job. With `--run` a reconstruction of a few bins is
run whole and set against the plan for it.
"""

from __future__ import annotations

import argparse
import math
import resource
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import measuring
import numpy as np
import torch
from backprojection import half_problem, particle_views
from made_project import CLOUD_SIGMA_ANGSTROMS, MAP, STAR, make_particles
from measuring import best_of, machine_speed, print_table
from torch import Tensor
from true_deformations import silent_reconstruction

from jobtypes.common.durations import duration_in_words
from jobtypes.common.fourier import convolve_padded
from jobtypes.common.memory import keep_freed_memory
from jobtypes.common.padded_grid import attenuation
from jobtypes.common.particles import read_particles
from jobtypes.common.volumes import read_volume
from jobtypes.dynamight.backprojection import whole_tensors
from jobtypes.dynamight.backprojection.bins import Bins
from jobtypes.dynamight.backprojection.deformation_basis import DeformationBasis, tabulate
from jobtypes.dynamight.backprojection.half_problem import HalfProblem
from jobtypes.dynamight.backprojection.memory_plan import MemoryPlan
from jobtypes.dynamight.backprojection.slices import SliceGrid, SlicePlane, normal_operator
from jobtypes.dynamight.backprojection.sums_store import SumsStore
from jobtypes.dynamight.backprojection.time_plan import TimePlan, count_moving, measure_costs
from jobtypes.dynamight.backprojection.warp import Warp
from jobtypes.dynamight.model.control_points import ControlPoints
from jobtypes.dynamight.model.displacement import TAPER_END_ANGSTROMS, DisplacementField
from jobtypes.dynamight.options import BackprojectionOptions

N_FIELDS, N_LATENT, N_GAUSSIANS = 16, 4, 2000
ITERATIONS = BackprojectionOptions.from_values({"fn_star": STAR}).reconstruction_iterations
FLOAT, COMPLEX, GIGABYTE = 4, 8, 1e9
_HELD_OUT = 10  # one particle in so many
_IMAGES = 10  # inserted at once


def parse() -> argparse.Namespace:
    """Words of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--box", type=int, nargs="+", default=[64, 128, 256])
    parser.add_argument("--particles", type=int, default=20_000, help="of both halves together, in the plan")
    parser.add_argument("--bins", type=int, default=40, help="of each half, in the plan")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--processor-time", action="store_true", help="count the processors' seconds, on a busy machine")
    parser.add_argument("--run", type=int, default=0, help="bins of each half of a reconstruction that is run whole; 0: none")
    parser.add_argument("--run-particles", type=int, default=200, help="of both halves together in it")
    parser.add_argument("--memory", type=float, default=16, help="GB that it may use, by the plan of a job")
    return parser.parse_args()


def main() -> None:
    """Measure and print."""
    words = parse()
    keep_freed_memory()  # as a job does
    torch.set_num_threads(words.threads)
    if words.processor_time:
        measuring.count_processor_time()
    speed = machine_speed(torch.device("cpu"))
    for box in words.box:
        with TemporaryDirectory() as folder, torch.no_grad():
            case = Case(Path(folder), box, max(words.run_particles if words.run else 0, 2 * _IMAGES))
            moving = len(case.basis.support) / box**3
            print(f"Box {box}, {words.threads} thread(s), {moving:.0%} of the voxels move. Milliseconds:\n")
            print_table(["", "now", "before", "ratio", "floor"], pieces(case, speed))
            print(f"\n{words.particles} particles, {words.bins} bins per half, counted from such pieces by the plan of a job.")
            print(case.plan(words.particles, words.bins).sentence())
            if words.run:
                print(against_the_plan(case, words.run, words.run_particles, words.memory * GIGABYTE))
            print(flush=True)


class Case:
    """A particle set and a deformation of random coefficients: its size does not matter for time.

    Parameters
    ----------
    project
        Where it is made.
    box
        N.
    particles
        Of both halves.
    device
        Where it is reconstructed.
    """

    def __init__(self, project: Path, box: int, particles: int, device: torch.device | str = "cpu") -> None:
        self.project, self.box, self.device = project, box, torch.device(device)
        self.pixel_size_angstroms = make_particles(project, particles=particles, box=box)
        self.table = read_particles(project / STAR, project=project)
        generator = torch.Generator().manual_seed(0)
        gaussians = torch.randn(N_GAUSSIANS, 3, generator=generator) * CLOUD_SIGMA_ANGSTROMS
        torch.manual_seed(0)
        points = ControlPoints.around(gaussians, 3 * N_FIELDS)
        self.field = DisplacementField(n_latent=N_LATENT, n_fields=N_FIELDS, control_points=points).to(device)
        self.gaussians = gaussians.to(device)
        self.field.set_anchors(self.gaussians, torch.ones(N_GAUSSIANS, device=device))
        reach = {"pixel_size_angstroms": self.pixel_size_angstroms, "reach_angstroms": TAPER_END_ANGSTROMS}
        self.basis: DeformationBasis = tabulate(self.field, self.gaussians, box=box, **reach)

    def warp(self) -> Warp:
        """The deformation of random coefficients."""
        return self.basis.warp(torch.randn(N_FIELDS), order="cubic")

    def plan(self, particles: int, bins: int) -> TimePlan:
        """As a job plans it."""
        moving = count_moving(self.gaussians, box=self.box, pixel_size_angstroms=self.pixel_size_angstroms)
        views = particle_views(self.table, self.project)
        costs = measure_costs(views, self.field, self.gaussians, order="cubic", n_moving=moving, clock=measuring.clock)
        return TimePlan(costs, particles, particles // _HELD_OUT, (bins, bins), ITERATIONS)


def pieces(case: Case, speed: tuple[float, float]) -> list[list[str]]:
    """Rows of the table."""
    box, plane, repeats = case.box, SlicePlane(case.box), 3 if case.box < 200 else 1
    views = particle_views(case.table, case.project)
    read = views.read(np.arange(_IMAGES))
    grid = SliceGrid(plane)
    terms = (read.data, read.weight, read.rotations)
    grid.insert(*terms)
    volume, weights, dense = grid.numerator(), grid.weights(), grid.ball.dense(grid.weights()).contiguous()
    warp, order = case.warp(), "cubic"
    support, moved = warp.support, warp.displacements()
    measured: list[tuple[str, float, Callable[[], object], Callable[[], object], float]] = [
        ("image, read", 1 / _IMAGES, lambda: views.read(np.arange(_IMAGES)), lambda: None, 0.0),
        (
            "image, summed",
            1 / _IMAGES,
            lambda: grid.insert(*terms),
            lambda: whole_tensors.insert_terms(
                grid.grid, grid.ball, read.data, read.weight, plane.weights, read.rotations, plane.cycles
            ),
            _seconds(8 * 8 * len(plane), 8 * 2 * 3 * FLOAT * len(plane), speed),
        ),
        (
            "bin, product",
            1.0,
            lambda: normal_operator(volume, weights),
            lambda: attenuation(box, "cpu") * convolve_padded(attenuation(box, "cpu") * volume, dense),
            product_floor(box, len(weights), speed),
        ),
        (
            "bin, map pushed",
            1.0,
            lambda: warp.push(volume),
            lambda: whole_tensors.spread_voxels(volume.clone(), support, moved, volume, order=order),
            warp_floor(case, speed),
        ),
        (
            "bin, map pulled",
            1.0,
            lambda: warp.pull(volume),
            lambda: whole_tensors.read_voxels(support, moved, volume, order=order),
            warp_floor(case, speed),
        ),
    ]
    table = []
    for name, share, now, before, floor in measured:
        now()  # compiles its loops, and takes its memory
        ours, theirs = (share * best_of(repeats, call) for call in (now, before))
        compared = [f"{1000 * theirs:.1f}", f"{theirs / ours:.1f}", f"{1000 * floor:.1f}"] if floor else ["", "", ""]
        table.append([name, f"{1000 * ours:.1f}", *compared])
    return [*table, ["bin, finished", f"{1000 * best_of(repeats, lambda: (grid.numerator(), grid.weights())):.1f}", "", "", ""]]


def product_floor(box: int, n_points: int, speed: tuple[float, float]) -> float:
    """Least seconds of a product: transforms along x of N^2 lines, y of N (N + 1), z of the columns in the ball, both ways."""
    size = 2 * box
    transform = 5 * size * math.log2(size)
    lines = 0.5 * box**2 + box * (box + 1) + math.pi / 4 * size * (box + 1)
    # the map and its half transform, read and written once each way, and the weights
    moved = 2 * (2 * FLOAT * box**3 + 4 * COMPLEX * box**2 * (box + 1)) + FLOAT * n_points
    return _seconds(2 * transform * lines + 2 * n_points, moved, speed)


def warp_floor(case: Case, speed: tuple[float, float]) -> float:
    """Least seconds of a warp: 64 multiply-adds for each voxel that moves; fields and maps moved once."""
    moving = len(case.basis.support)
    return _seconds(2 * 64 * moving, moving * (3 * N_FIELDS * FLOAT + 8 + 2 * FLOAT) + 2 * FLOAT * case.box**3, speed)


def against_the_plan(case: Case, bins: int, particles: int, memory_bytes: float) -> str:
    """Run a reconstruction of a few bins whole, and say what its plan had said."""
    expected = case.plan(particles, bins)
    expected = replace(expected, costs=replace(expected.costs, tabulation=0.0))  # that of the case is used
    basis_bytes = 12 * N_FIELDS * len(case.basis.support)
    memory = MemoryPlan(case.box, bins, 2 * bins, basis_bytes, _IMAGES, n_particles=particles)
    truth = read_volume(case.project / MAP).data
    problems = {half: deformed_half(case, half, truth, bins) for half in (1, 2)}
    store = SumsStore(case.project / "sums", {}, memory_bytes=memory.cache_bytes(int(memory_bytes)))
    reconstruction = silent_reconstruction(problems, store, torch.ones_like(truth), _IMAGES)
    begun, begun_by_processor = time.perf_counter(), time.process_time()
    reconstruction.run()
    took, by_processor = time.perf_counter() - begun, time.process_time() - begun_by_processor
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return (
        f"{particles} particles, {bins} bins per half, run whole: {duration_in_words(took)} by the clock, "
        f"{duration_in_words(by_processor)} of processors; its plan had said about {duration_in_words(expected.usual_seconds)}, "
        f"at most {duration_in_words(expected.most_seconds)}.\n"
        f"{memory.sentence(int(memory_bytes))} Peak of the whole process: {peak / GIGABYTE:.1f} GB."
    )


def deformed_half(case: Case, half: int, truth: Tensor, n_bins: int) -> HalfProblem:
    """One half in bins of random deformations."""
    views = particle_views(case.table, case.project, half, device=case.device)
    n = len(views.rows)
    bins = Bins(
        torch.arange(n) % n_bins, torch.zeros(n_bins, 1), 0.0, 0.0, presence=torch.ones(n_bins, 0), tolerance_angstroms=0.0
    )
    deformations = [case.warp() for _ in range(n_bins)]
    return half_problem(views, half, truth, bins, deformations, held_out=np.arange(n) % _HELD_OUT == 0, batch_size=_IMAGES)


def _seconds(operations: float, moved: float, speed: tuple[float, float]) -> float:
    return max(operations / speed[0], moved / speed[1])


if __name__ == "__main__":
    main()
