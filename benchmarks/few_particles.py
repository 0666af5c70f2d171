"""How good rigid half maps are, from one particle to thousands: ours, ended as in a job, and that of `relion_reconstruct`.

Each set is reconstructed as by a job, once with held-out particles, so that the final solve starts from the map of the verdict,
and once without, so that it starts from zero. Agreement with the truth is measured within a soft ball around the molecule, as
correlation and as mean FSC to Nyquist.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from backprojection import half_problem, particle_views
from made_project import BOX_LENGTH_ANGSTROMS, CLOUD_SIGMA_ANGSTROMS, MAP, STAR, make_particles
from measuring import print_table
from torch import Tensor
from true_deformations import silent_reconstruction

from jobtypes.common.fourier import fsc
from jobtypes.common.masks import raised_cosine
from jobtypes.common.particles import read_particles
from jobtypes.common.volumes import read_volume
from jobtypes.dynamight.backprojection.bins import Bins
from jobtypes.dynamight.backprojection.half_problem import HalfProblem
from jobtypes.dynamight.backprojection.particle_pass import ParticleViews
from jobtypes.dynamight.backprojection.sums_store import SumsStore
from jobtypes.dynamight.backprojection.warp import Identity

_HELD_OUT = 10  # one particle in so many
_BATCH_SIZE = 50


def parse() -> argparse.Namespace:
    """Words of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--particles", type=int, nargs="+", default=[1, 3, 10, 30, 100, 300, 1000, 3000], help="per half")
    parser.add_argument("--box", type=int, nargs="+", default=[32, 64])
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def main() -> None:
    """Measure and print."""
    words = parse()
    torch.set_num_threads(words.threads)
    rows = []
    for box in words.box:
        for n_per_half in words.particles:
            with TemporaryDirectory() as folder, torch.no_grad():
                rows.append([str(box), str(n_per_half), *compare(Path(folder), box, n_per_half, words.threads)])
    print("Half 1, correlation with the truth / mean FSC with it:\n")
    print_table(["box", "particles", "from the verdict's map", "from zero", "relion_reconstruct", "residual"], rows)


def compare(project: Path, box: int, n_per_half: int, threads: int) -> list[str]:
    """Cells of one set."""
    make_particles(project, particles=2 * n_per_half, box=box)
    truth = read_volume(project / MAP).data
    found = {held_out: reconstruct(project, truth, held_out=held_out) for held_out in (True, False)}
    relion = relion_map(project, threads)
    cells = [agreement(found[held_out][0], truth) for held_out in (True, False)]
    return [*cells, "" if relion is None else agreement(relion, truth), found[True][1]]


def reconstruct(project: Path, truth: Tensor, *, held_out: bool) -> tuple[Tensor, str]:
    """Rigid map of half 1 as a job makes it, and the residual where it is large enough for a warning."""
    table = read_particles(project / STAR)
    problems = {half: rigid_half(particle_views(table, project, half), half, truth, held_out=held_out) for half in (1, 2)}
    store = SumsStore(project / f"sums{held_out}", {}, memory_bytes=1 << 34)
    reconstruction = silent_reconstruction(problems, store, torch.ones_like(truth), _BATCH_SIZE)
    maps, _ = reconstruction.run()
    return maps.rigid.maps[1], f"{reconstruction.unsolved[1]:.3f}" if 1 in reconstruction.unsolved else "small"


def rigid_half(views: ParticleViews, half: int, truth: Tensor, *, held_out: bool) -> HalfProblem:
    """One half without any deformation."""
    n = len(views.rows)
    bins = Bins(torch.zeros(n, dtype=torch.int64), torch.zeros(1, 1), 0.0, 0.0, torch.ones(1, 0), 0.0)
    left_out = (np.arange(n) % _HELD_OUT == 0) & held_out
    return half_problem(views, half, truth, bins, [Identity()], held_out=left_out, batch_size=_BATCH_SIZE)


def relion_map(project: Path, threads: int) -> Tensor | None:
    """The map that relion_reconstruct makes of half 1; None where it is not on PATH."""
    program = shutil.which("relion_reconstruct")
    if program is None:
        return None
    call = [program, "--i", STAR, "--o", "relion.mrc", "--ctf", "--subset", "1", "--j", str(threads)]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    subprocess.run(call, cwd=project, env=environment, check=True, capture_output=True)
    return read_volume(project / "relion.mrc").data


def agreement(volume: Tensor, truth: Tensor) -> str:
    """Correlation and mean FSC (N, N, N) with (N, N, N) within three standard deviations of the cloud of blobs."""
    box = truth.shape[0]
    axis = (torch.arange(box) - box // 2) * BOX_LENGTH_ANGSTROMS / box
    distance = (axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2).sqrt()
    mask = raised_cosine(distance, 3 * CLOUD_SIGMA_ANGSTROMS, CLOUD_SIGMA_ANGSTROMS)
    correlation = torch.corrcoef(torch.stack(((volume * mask).flatten(), (truth * mask).flatten())))[0, 1]
    return f"{float(correlation):.3f} / {float(fsc(volume, truth, mask)[1 : box // 2].mean()):.3f}"


if __name__ == "__main__":
    main()
