"""What the reconstruction itself loses: maps of a simulated set reconstructed with its true deformations.

The learned field is replaced by the motion of the nearest atoms and by how their surroundings turn, everything else is as in a
job. The maps are compared with the true ones, beside the rigid map of the same particles and the ceiling, a map of particles that
did not move.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import numpy as np
import torch
from measuring import print_table
from scipy.spatial import cKDTree
from torch import Tensor

from jobtypes.common.fourier import fsc
from jobtypes.common.masks import raised_cosine
from jobtypes.common.particle_images import ParticleImages
from jobtypes.common.particles import ParticleTable, read_particles
from jobtypes.common.rotations import euler_matrices
from jobtypes.common.volumes import read_volume, write_volume
from jobtypes.dynamight.backprojection.bins import Binning
from jobtypes.dynamight.backprojection.fsc_mask import molecule_mask
from jobtypes.dynamight.backprojection.half_problem import HalfProblem, bins_of, build_half_problem
from jobtypes.dynamight.backprojection.memory_plan import most_bins
from jobtypes.dynamight.backprojection.particle_pass import ParticleViews
from jobtypes.dynamight.backprojection.reconstruction import DeformedReconstruction, Maps
from jobtypes.dynamight.backprojection.slices import SlicePlane
from jobtypes.dynamight.backprojection.sums_store import SumsStore
from jobtypes.dynamight.model.displacement import TAPER_END_ANGSTROMS, TAPER_START_ANGSTROMS
from jobtypes.dynamight.model.gaussians import GaussianModel
from jobtypes.dynamight.model.result import HalfResult
from jobtypes.dynamight.options import BackprojectionOptions
from jobtypes.simulate.map_measures import agreement, best_conformation
from jobtypes.simulate.truth import Truth, read_truth

_ACCURACY_ANGSTROMS = 0.01  # of the motion as a sum of few fields
_NEIGHBOURS = 8  # atoms that carry a point along
_SURROUNDINGS = 24  # atoms whose motion tells how the surroundings of an atom turn
_HELD_OUT = 10  # one particle in so many
_BATCH_SIZE = 50
_LOG_VARIANCE = -12.0  # of true coordinates: known well enough for any bins
_AS_IN_A_JOB = BackprojectionOptions.from_values({"fn_star": "particles.star"})  # the file is given on the command line


def parse() -> argparse.Namespace:
    """Words of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("star", type=Path, help="particle STAR file of a simulated set")
    parser.add_argument("truth", type=Path, help="its folder truth/")
    parser.add_argument("--project", type=Path, default=Path(), help="directory that stack paths are relative to")
    parser.add_argument("--particles", type=int, help="of each half; all if not given")
    parser.add_argument("--tolerance", type=float, default=_AS_IN_A_JOB.bin_tolerance, help="motion within a bin, pixels")
    parser.add_argument("--most-bins", type=int, help="as in a job if not given")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--unbinned", action="store_true", help="also reconstruct with a bin for every particle, and compare")
    parser.add_argument("--save", type=Path, help="folder for the half maps")
    return parser.parse_args()


def main() -> None:
    """Reconstruct, compare, print."""
    words = parse()
    torch.set_num_threads(words.threads)
    truth, table = read_truth(words.truth), read_particles(words.project / words.star, project=words.project)
    field = TrueField.of(truth)
    binning = Binning(words.tolerance, words.most_bins or most_bins(table.box), _AS_IN_A_JOB.seed)
    maps, mask = reconstruct(field, truth, table, words.project, binning, words.particles)
    pairs = {"rigid": list(maps.rigid.maps.values()), "true deformations": list(maps.deformed.maps.values())}
    ceiling = [truth.directory / f"oracle_half{half}.mrc" for half in (1, 2)] if truth.directory else []
    if all(path.is_file() for path in ceiling):
        pairs["ceiling"] = [read_volume(path).data for path in ceiling]
    print_table(["AUC against the truth", "moving", "core", "best t"], [row(truth, name, *pair) for name, pair in pairs.items()])
    if words.save:
        for half, volume in maps.deformed.maps.items():
            write_volume(words.save / f"map_half{half}.mrc", volume, table.pixel_size_angstroms)
    if words.unbinned:
        each = Binning(1e-6, len(table), _AS_IN_A_JOB.seed)
        exact, _ = reconstruct(field, truth, table, words.project, each, words.particles)
        print_table(["against a bin for every particle", "half 1", "half 2"], binning_error(maps, exact, mask))


@dataclass(frozen=True)
class TrueField:
    """The true motion of a simulated molecule as a sum of few fields, each that of the nearest atoms.

    An atom carries its surroundings along as they turn about it. The mean displacement of the atoms around a point is that of
    their mean place, and where a domain turns far, the point itself moves otherwise.

    Attributes
    ----------
    atoms : (n, 3) A
        In the consensus, which is the conformation halfway.
    fields : (K, n, 3) A
        Of the atoms.
    turns : (K, n, 3, 3)
        Of their surroundings: by how much the rotation differs from none.
    truth
        The set.
    """

    atoms: Tensor
    fields: Tensor
    turns: Tensor
    truth: Truth

    @classmethod
    def of(cls, truth: Truth) -> TrueField:
        """From the paths of the atoms."""
        here = truth.positions(truth.consensus_coordinates)
        steps = np.repeat(truth.consensus_coordinates[None], 41 * truth.motions, axis=0)
        for motion in range(truth.motions):
            steps[41 * motion : 41 * (motion + 1), motion] = np.linspace(0, 1, 41)
        places = truth.model.positions(steps)
        moved = torch.from_numpy(places - here).flatten(1).double()
        _, sizes, directions = torch.linalg.svd(moved, full_matrices=False)
        left_out = sizes.square().flip(0).cumsum(0).flip(0) / moved.numel()
        directions = directions[: int((left_out > _ACCURACY_ANGSTROMS**2).sum())]
        turned = torch.from_numpy(surroundings_turned(here, places)) - torch.eye(3)  # (steps, n, 3, 3)
        turns = torch.linalg.lstsq(moved @ directions.T, turned.flatten(1).double()).solution
        n = len(here)
        return cls(torch.from_numpy(here), directions.view(-1, n, 3).float(), turns.view(-1, n, 3, 3).float(), truth)

    @property
    def n_fields(self) -> int:
        """K."""
        return len(self.fields)

    def basis(self, points: Tensor) -> Tensor:
        """U_k at points (m, 3) A: (K, m, 3) A."""
        distance, index = cKDTree(self.atoms.numpy()).query(points.numpy(), k=_NEIGHBOURS)
        weight = torch.from_numpy(1 / (distance + 0.5) ** 4)
        weight = (weight / weight.sum(1, keepdim=True)).float()
        taper = raised_cosine(
            torch.from_numpy(distance[:, 0]), TAPER_START_ANGSTROMS, TAPER_END_ANGSTROMS - TAPER_START_ANGSTROMS
        )
        nearest = torch.from_numpy(index)  # (m, 8)
        beside = points[:, None] - self.atoms[nearest]  # (m, 8, 3)
        each = zip(self.fields, self.turns, strict=True)
        moved = [field[nearest] + (turn[nearest] @ beside[..., None])[..., 0] for field, turn in each]
        return torch.stack([(near * weight[:, :, None]).sum(1) for near in moved]) * taper.float()[:, None]

    def coefficients(self, latent: Tensor) -> Tensor:
        """(b, K) of true coordinates (b, motions)."""
        parts = []
        for part in latent.split(64):
            moved = torch.from_numpy(self.truth.model.positions(part.numpy())) - self.atoms
            parts.append(moved.flatten(1) @ self.fields.flatten(1).T)
        return torch.cat(parts)


def surroundings_turned(here: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Rotations (s, n, 3, 3) of what is around each atom, from atoms (n, 3) to their places (s, n, 3).

    Source: Kabsch 1976.
    """
    around = cKDTree(here).query(here, k=_SURROUNDINGS)[1]  # (n, 24)
    before = here[around] - here[:, None]
    found = []
    for after in places:
        sum_of_products = np.einsum("nki,nkj->nij", after[around] - after[:, None], before)
        left, _, right = np.linalg.svd(sum_of_products)
        left[:, :, 2] *= np.linalg.det(left @ right)[:, None]  # no mirror images
        found.append(left @ right)
    return np.stack(found)


class Silent:
    """A job that says nothing but its progress on the error stream."""

    def report(self, sentence: str) -> None:
        """Pass it on."""
        sys.stderr.write(f"{sentence}\n")

    def progress(self, stage: str, done: int, total: int, unit: str, **figures: float) -> None:
        """Say nothing."""

    def check_abort(self) -> None:
        """Ctrl-C ends the program by itself."""

    def abort_requested(self) -> bool:
        """Never."""
        return False


def silent_reconstruction(
    problems: dict[int, HalfProblem], store: SumsStore, mask: Tensor, batch_size: int = _BATCH_SIZE
) -> DeformedReconstruction:
    """A reconstruction with as many iterations as in a job, that says nothing of its progress."""
    return DeformedReconstruction(
        problems,
        store,
        mask,
        Silent(),  # type: ignore[arg-type]
        batch_size=batch_size,
        iterations=_AS_IN_A_JOB.reconstruction_iterations,
    )


def reconstruct(
    field: TrueField, truth: Truth, table: ParticleTable, project: Path, binning: Binning, most: int | None
) -> tuple[Maps, Tensor]:
    """Rigid and deformed half maps with the true deformations, and the mask."""
    images, plane = ParticleImages(table, project), SlicePlane(table.box)
    where = {"box": table.box, "pixel_size_angstroms": table.pixel_size_angstroms}
    problems, results = {}, {}
    for half in (1, 2):
        results[half] = result = half_result(field, truth, table, half, most)
        views = ParticleViews(images, result.rows, result.angles_matrices, result.shifts_angstroms, plane=plane)
        bins = bins_of(result, binning, table.pixel_size_angstroms)
        problems[half] = build_half_problem(
            result, views, bins=bins, order=_AS_IN_A_JOB.warp_interpolation, batch_size=_BATCH_SIZE
        )
    mask = molecule_mask([(results[half], problems[half].bins) for half in (1, 2)], **where)
    with TemporaryDirectory() as folder, torch.no_grad():
        store = SumsStore(Path(folder), {}, memory_bytes=1 << 33)
        maps, verdict = silent_reconstruction(problems, store, mask).run()
    sys.stderr.write(f"{len(problems[1].bins)} and {len(problems[2].bins)} bins. {verdict.sentence()}\n")
    return maps, mask


def half_result(field: TrueField, truth: Truth, table: ParticleTable, half: int, most: int | None) -> HalfResult:
    """One half as after a training that found the truth."""
    rows = np.flatnonzero(table.half == half)[:most]
    latents = torch.from_numpy(truth.coordinates[rows]).float().view(len(rows), -1)
    total = float(truth.render(truth.consensus_coordinates).sum())
    gaussians = GaussianModel(field.atoms, amplitude=total / len(field.atoms), width_angstroms=2.0).requires_grad_(False)
    model = SimpleNamespace(field=field, gaussians=gaussians)
    return HalfResult(
        half,
        model,  # type: ignore[arg-type]
        rows,
        np.arange(len(rows)) % _HELD_OUT == 0,
        latents,
        torch.full_like(latents, _LOG_VARIANCE),
        euler_matrices(torch.from_numpy(table.angles_degrees[rows])).float(),
        -torch.from_numpy(table.origins_angstroms[rows]).float(),
        torch.zeros(len(rows)),
        quality=torch.ones(len(rows)),
        scale=torch.ones(len(rows)),
        presence=torch.ones(len(rows), 0),
    )


def row(truth: Truth, name: str, half1: Tensor, half2: Tensor) -> list[str]:
    """AUC of a map in the moving part, at the conformation that fits best, and in the core."""
    mean, pixel_size_angstroms = (half1 + half2) / 2, truth.renderer.pixel_size_angstroms
    best, place = best_conformation(truth, mean)
    core = agreement(mean, truth.map("consensus"), truth.map("mask_core"), pixel_size_angstroms)
    return [name, f"{best.auc:.3f}", f"{core.auc:.3f}", " ".join(f"{value:.2f}" for value in place)]


def binning_error(binned: Maps, exact: Maps, mask: Tensor) -> list[list[str]]:
    """Difference of the deformed maps within the mask over the map itself, and their mean FSC to Nyquist."""
    pairs = [(binned.deformed.maps[half], exact.deformed.maps[half]) for half in (1, 2)]
    box = mask.shape[0]
    relative = [float(((a - b) * mask).norm() / (b * mask).norm()) for a, b in pairs]
    curves = [float(fsc(a, b, mask)[1 : box // 2].mean()) for a, b in pairs]
    return [
        ["rms difference / rms", *(f"{value:.4f}" for value in relative)],
        ["mean FSC", *(f"{value:.4f}" for value in curves)],
    ]


if __name__ == "__main__":
    main()
