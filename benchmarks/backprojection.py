"""Time of a deformed reconstruction: per particle, and the part that does not grow with the particles, per bin and iteration.

The deformation is a field of random coefficients: its size does not matter for time. As anchors, the published deformable
backprojection, written plainly, and the rigid `relion_reconstruct` where it is on PATH, run on the same particles.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from made_project import CLOUD_SIGMA_ANGSTROMS, STAR, make_particles
from measuring import best_of, print_table
from published_backprojection import PublishedBackprojection
from torch import Tensor

from jobtypes.common.ctf import ctf
from jobtypes.common.fourier import frequencies_2d
from jobtypes.common.particle_images import ParticleImages
from jobtypes.common.particles import ParticleTable, read_particles
from jobtypes.common.rotations import euler_matrices
from jobtypes.dynamight.backprojection.bins import Bins
from jobtypes.dynamight.backprojection.deformation_basis import tabulate
from jobtypes.dynamight.backprojection.half_problem import HalfProblem, usable_held_out
from jobtypes.dynamight.backprojection.noise import sample_of_groups, shell_powers
from jobtypes.dynamight.backprojection.particle_pass import ParticleViews, add_particles
from jobtypes.dynamight.backprojection.slices import SlicePlane, normal_operator
from jobtypes.dynamight.backprojection.sums_store import SumsStore
from jobtypes.dynamight.backprojection.warp import Deformation
from jobtypes.dynamight.model.control_points import ControlPoints
from jobtypes.dynamight.model.displacement import TAPER_END_ANGSTROMS, DisplacementField

N_FIELDS, N_LATENT = 16, 4


def parse() -> argparse.Namespace:
    """Words of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--particles", type=int, default=1000, help="of the larger of two sets")
    parser.add_argument("--box", type=int, default=64)
    parser.add_argument("--batch", type=int, default=10, help="images at once")
    parser.add_argument("--gaussians", type=int, default=2000, help="they say which voxels move")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--baseline-particles", type=int, default=4, help="of the published one; 0: leave it out")
    return parser.parse_args()


def main() -> None:
    """Measure and print."""
    words = parse()
    torch.set_num_threads(words.threads)
    with TemporaryDirectory() as folder, torch.no_grad():
        project = Path(folder)
        pixel_size_angstroms = make_particles(project, particles=words.particles, box=words.box)
        table = read_particles(project / STAR, project=project)
        views = particle_views(table, project)
        few, many = words.particles // 4, words.particles
        seconds = {count: sum_seconds(views, count, project, words.batch) for count in (few, many)}
        slope = (seconds[many] - seconds[few]) / (many - few)
        numerator, weights = sums_of(views, few, project, words.batch)
        rows = [["ours, per particle", _ms(slope), ""], ["ours, once per bin", _ms(seconds[few] - few * slope), ""]]
        iteration = iteration_seconds(words, pixel_size_angstroms, numerator, weights)
        rows.append(["ours, per bin and iteration", _ms(iteration), ""])
        if words.baseline_particles:
            published = published_seconds(table, views, words.baseline_particles)
            rows.append(["published, per particle", _ms(published), f"{published / slope:.1f}"])
        if (relion := relion_seconds(project, words, few)) is not None:
            rows.append(["relion_reconstruct (rigid), per particle", _ms(relion), f"{relion / slope:.1f}"])
    print(f"Box {words.box}, {few} and {many} particles, {words.threads} thread(s), cubic warps. Milliseconds:\n")
    print_table(["", "ms", "ratio"], rows)


def particle_views(
    table: ParticleTable, project: Path, half: int | None = None, *, device: torch.device | str = "cpu"
) -> ParticleViews:
    """The particles of a half set, or all as one."""
    rows = np.arange(len(table)) if half is None else np.flatnonzero(table.half == half)
    rotations = euler_matrices(torch.from_numpy(table.angles_degrees[rows])).float()
    shifts = -torch.from_numpy(table.origins_angstroms[rows]).float()
    plane = SlicePlane(table.box, device=device)
    return ParticleViews(ParticleImages(table, project), rows, rotations, shifts, plane=plane)


def half_problem(
    views: ParticleViews,
    half: int,
    truth: Tensor,
    bins: Bins,
    deformations: Sequence[Deformation],
    *,
    held_out: np.ndarray,
    batch_size: int,
) -> HalfProblem:
    """One half in these bins, its noise by the true map; `held_out` where anything is left beside."""
    n = len(views.rows)
    good = np.ones(n, dtype=bool)
    left_out = usable_held_out(held_out, good)
    members = sample_of_groups(views.images.table.optics_group[views.rows], ~left_out)
    views.set_powers(*shell_powers(views, members, truth, batch_size=batch_size))
    return HalfProblem(half, views, bins, left_out, good, deformations, torch.zeros(n))


def sum_seconds(views: ParticleViews, count: int, project: Path, batch: int) -> float:
    """Seconds in which one bin of `count` particles is summed."""
    return best_of(3, lambda: sums_of(views, count, project, batch))


def sums_of(views: ParticleViews, count: int, project: Path, batch: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Numerator (N, N, N) and weights (2N, 2N, N + 1) of one bin of `count` particles."""
    store = SumsStore(project / "sums", {"started": time.monotonic_ns()}, memory_bytes=1 << 40)
    members = [np.arange(count)]
    add_particles(views, members, store, half=1, part="all", batch_size=batch, after_batch=lambda done: None)
    sums = store.get((1, "all", 0))
    return sums["numerator"], sums["weights"]


def iteration_seconds(
    words: argparse.Namespace, pixel_size_angstroms: float, volume: torch.Tensor, weights: torch.Tensor
) -> float:
    """Seconds of D* T D of one bin: what an iteration does for each."""
    torch.manual_seed(0)
    gaussians = torch.randn(words.gaussians, 3) * CLOUD_SIGMA_ANGSTROMS
    points = ControlPoints.around(gaussians, 3 * N_FIELDS)
    field = DisplacementField(n_latent=N_LATENT, n_fields=N_FIELDS, control_points=points)
    field.set_anchors(gaussians, torch.ones(len(gaussians)))
    basis = tabulate(
        field, gaussians, box=words.box, pixel_size_angstroms=pixel_size_angstroms, reach_angstroms=TAPER_END_ANGSTROMS
    )
    warp = basis.warp(torch.randn(N_FIELDS), order="cubic")
    return best_of(3, lambda: warp.pull(normal_operator(warp.push(volume), weights)))


def published_seconds(table: ParticleTable, views: ParticleViews, count: int) -> float:
    """Seconds per particle of the published method."""
    baseline = PublishedBackprojection(table.box, N_LATENT)
    rows = np.arange(count)
    images = views.images.read(rows)
    transfer = ctf(table.ctf_parameters(rows), frequencies_2d(table.box, table.pixel_size_angstroms))
    latent = torch.zeros(N_LATENT)
    baseline.add(images[0], transfer[0], views.rotations[0], latent)  # pages of memory

    def add_all() -> None:
        for row in rows:
            baseline.add(images[row], transfer[row], views.rotations[row], latent)

    return best_of(2, add_all) / count


def relion_seconds(project: Path, words: argparse.Namespace, few: int) -> float | None:
    """Seconds per particle of relion_reconstruct, from sets of two sizes; None where it is not on PATH."""
    program = shutil.which("relion_reconstruct")
    if program is None:
        return None
    lines = (project / STAR).read_text().splitlines(keepends=True)
    end = max(number for number, line in enumerate(lines) if "@" in line) + 1
    (project / "few.star").write_text("".join(lines[: end - words.particles + few] + lines[end:]))
    environment = os.environ | {"OMP_NUM_THREADS": str(words.threads)}

    def reconstruct(star: str) -> float:
        call = [program, "--i", star, "--o", "relion.mrc", "--ctf", "--j", str(words.threads)]
        run = lambda: subprocess.run(call, cwd=project, env=environment, check=True, capture_output=True)  # noqa: E731
        return best_of(2, run)

    return (reconstruct(STAR) - reconstruct("few.star")) / (words.particles - few)


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.2f}"


if __name__ == "__main__":
    main()
