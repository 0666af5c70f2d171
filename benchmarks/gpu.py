"""The one command for a GPU: its tests; then a training, an inverse and a reconstruction on it, beside the same on the CPU.

Prints one table: how fast each is, a training step and a reconstruction part by part, the least time by operations and bytes
(`floors.py`), memory, and how far the results are from the CPU's. It ends with another exit code than 0 where a test fails or a
result is farther from the CPU's than rounding explains. On one GPU with 16 cores it takes less than nine minutes; what there is
no time left for is named. `--device cpu` compares the CPU with itself.
"""

from __future__ import annotations

import argparse
import copy
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from floors import FLOAT, dense_weights, step_floor
from forward import PARTS, parts_of_step, steps_of_epoch
from made_project import MAP, forward_options, make_particles
from measuring import best_of, machine_speed, now
from reconstruction import Case, deformed_half, particle_views, product_floor, warp_floor
from torch import Tensor
from true_deformations import silent_reconstruction

from jobtypes.common.devices import forget_peak_memory, peak_memory_bytes
from jobtypes.common.volumes import read_volume
from jobtypes.dynamight.backprojection.memory_plan import MemoryPlan
from jobtypes.dynamight.backprojection.slices import SliceGrid, normal_operator
from jobtypes.dynamight.backprojection.sums_store import SumsStore
from jobtypes.dynamight.forward_deformations.plan import TrainingPlan, make_plan
from jobtypes.dynamight.forward_deformations.preparation import prepare_half
from jobtypes.dynamight.forward_deformations.training import HalfTraining
from jobtypes.dynamight.inverse_deformations.task import start_training
from jobtypes.dynamight.model.result import ForwardResult, HalfResult

CPU = torch.device("cpu")
ROOT = Path(__file__).parents[1]
EPOCHS, BATCH, IMAGES = 3, 64, 16  # measured; particles of a step; images summed at once
# Relative differences from the CPU that rounding explains: after an epoch of training, three of an inverse, and of a map, whose
# solve ends at a residual of 1.5e-3.
ALLOWED = {"training": 2e-3, "inverse": 2e-2, "reconstruction": 1e-2}


@dataclass(frozen=True)
class Sizes:
    """Of one set: box, particles of both halves, Gaussians, bins of each half."""

    box: int
    particles: int
    gaussians: int
    bins: int


SIZES = (Sizes(64, 2000, 2000, 4), Sizes(256, 320, 10_000, 2))
SMALL = (Sizes(24, 60, 60, 2),)


@dataclass(frozen=True)
class Row:
    """A line of the table; None where there is nothing to say.

    Attributes
    ----------
    what, unit
        What is measured, in what.
    here, on_cpu, floor
        On the device, on the CPU, and the least time or greatest rate that its operations and bytes allow there.
    gigabytes
        The most memory of the GPU that it took.
    difference, allowed
        Of the result from the CPU's, relative.
    """

    what: str
    unit: str
    here: float
    on_cpu: float | None = None
    floor: float | None = None
    gigabytes: float | None = None
    difference: float | None = None
    allowed: float | None = None

    @property
    def is_right(self) -> bool:
        """Whether the result is that of the CPU."""
        return self.difference is None or self.allowed is None or self.difference <= self.allowed

    def cells(self, box: int) -> list[str]:
        """What the table shows."""
        ratio = None
        if self.on_cpu:
            ratio = self.here / self.on_cpu if self.unit.endswith("/s") else self.on_cpu / self.here
        numbers = (self.here, self.on_cpu, ratio, self.floor, self.gigabytes, self.difference, self.allowed)
        return [self.what, str(box), self.unit, *("" if number is None else f"{number:.3g}" for number in numbers)]


HEADER = ("", "box", "unit", "here", "CPU", "times as fast", "floor", "GPU memory, GB", "difference", "allowed")


def parse() -> argparse.Namespace:
    """Words of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1 or cpu")
    parser.add_argument("--small", action="store_true", help="one set of 60 particles, to see whether all of this runs")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of the CPU")
    parser.add_argument("--minutes", type=float, default=6.0, help="after which nothing more is begun")
    parser.add_argument("--output", type=Path, help="file for the table")
    return parser.parse_args()


def main() -> int:
    """Test, measure, compare and print; returns the exit code."""
    words, begun = parse(), time.monotonic()
    torch.set_num_threads(words.threads)
    device = torch.device(words.device)
    tested = test_on(device)
    lines = [name_of(device, words.threads), "", f"`pytest -m cuda`: {tested}", "", *_line(HEADER), *_line(["---"] * len(HEADER))]
    right = "failed" not in tested and "error" not in tested
    print("\n".join(lines), flush=True)
    for sizes in SMALL if words.small else SIZES:
        with TemporaryDirectory() as folder:
            project = Path(folder)
            make_particles(project, particles=sizes.particles, box=sizes.box)
            for stage in (training, inverse, reconstruction):
                if time.monotonic() - begun > 60 * words.minutes:
                    lines += _line([f"{stage.__name__}: no time was left", str(sizes.box)])
                    print(lines[-1], flush=True)
                    continue
                for row in stage(sizes, project, device, words.threads):
                    right = right and row.is_right
                    lines += _line(row.cells(sizes.box))
                    print(lines[-1], flush=True)
    end = f"\n{'Every result is' if right else 'NOT every result is'} as on the CPU; {time.monotonic() - begun:.0f} s in all."
    print(end)
    if words.output is not None:
        words.output.write_text("\n".join([*lines, end, ""]))
    return 0 if right else 1


def _line(cells: list[str] | tuple[str, ...]) -> list[str]:
    return [f"| {' | '.join(cells)} |"]


def name_of(device: torch.device, threads: int) -> str:
    """What is measured on."""
    name = "CPU" if device == CPU else torch.cuda.get_device_name(device)
    operations, moved = machine_speed(device)
    return (
        f"{name}, {threads} threads, torch {torch.__version__}: {operations / 1e9:.0f} GFLOP/s in a float32 matrix product, "
        f"{moved / 1e9:.0f} GB/s in a copy."
    )


def test_on(device: torch.device) -> str:
    """Run the tests that need a GPU: the last line of what they say."""
    if device == CPU:
        return "not run, as no GPU is asked for"
    call = [sys.executable, "-m", "pytest", "-q", "-m", "cuda", "tests"]
    done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, check=False)
    sys.stderr.write(done.stdout + done.stderr)
    return (done.stdout.strip().splitlines() or ["error: nothing was said"])[-1]


def training(sizes: Sizes, project: Path, device: torch.device, threads: int) -> Iterator[Row]:
    """An epoch of a half set, and a step of it part by part."""
    half, plan = trained(sizes, project, device, threads)
    on_cpu, _ = trained(sizes, project, CPU, threads)
    difference = max(abs(half.loss / on_cpu.loss - 1), abs(half.held_out / on_cpu.held_out - 1))
    parts, batch, n_terms = parts_of_step(half.training, plan, device), plan.settings.batch_size, len(plan.band)
    model, projector = half.training.model, half.training.projector
    floor = step_floor(model, projector, batch=batch, n_terms=n_terms, speed=machine_speed(device))
    per_second = len(half.training.training) / (steps_of_epoch(half.training) * sum(floor.values()))
    yield Row(
        "training of a half set",
        "particles/s",
        half.per_second,
        on_cpu.per_second,
        per_second,
        half.gigabytes,
        difference,
        ALLOWED["training"],
    )
    for part in PARTS:
        yield Row(f"step: {part}", "ms", 1000 * parts[part], floor=1000 * floor[part] if part in floor else None)


@dataclass(frozen=True)
class Trained:
    """A half set after some epochs: objectives after the first, rate, memory."""

    training: HalfTraining
    loss: float
    held_out: float
    per_second: float
    gigabytes: float | None


def trained(sizes: Sizes, project: Path, device: torch.device, threads: int) -> tuple[Trained, TrainingPlan]:
    """Train half 1 for some epochs."""
    batch = min(BATCH, sizes.particles // 4)
    plan = make_plan(forward_options(gaussians=sizes.gaussians, batch=batch, threads=threads), project)
    half = prepare_half(1, plan, device=device, scratch=None, after_batch=lambda done: None)
    forget_peak_memory(device)
    loss = half.run_epoch(plan.last_epoch, lambda: False)["loss"]
    held_out = half.held_out_objective(plan.last_epoch)
    seconds = best_of(EPOCHS, lambda: half.run_epoch(plan.last_epoch, lambda: False), device)
    return Trained(half, loss, held_out, len(half.training) / seconds, gigabytes(device)), plan


def gigabytes(device: torch.device) -> float | None:
    """The most memory of a GPU that was taken since it was forgotten."""
    peak = peak_memory_bytes(device)
    return None if peak is None else peak / 1e9


def inverse(sizes: Sizes, project: Path, device: torch.device, threads: int) -> Iterator[Row]:
    """Epochs of an inverse of a model that has just begun to learn."""
    half, plan = trained(sizes, project, device, threads)
    forget_peak_memory(device)
    per_second, loss, floor = inverted(half.training, plan, device)
    memory = gigabytes(device)
    on_cpu, expected, _ = inverted(half.training, plan, CPU)
    yield Row("inverse", "pairs/s", per_second, on_cpu, floor, memory, abs(loss / expected - 1), ALLOWED["inverse"])


def inverted(half: HalfTraining, plan: TrainingPlan, device: torch.device) -> tuple[float, float, float]:
    """Pairs per second of an inverse network's training, its loss after some epochs, and the most pairs per second."""
    forward = result_of(half, plan, device)
    work = start_training(forward, forward.halves[1], n_epochs=20, store_deformations=False, seed=0)
    seconds = best_of(EPOCHS, lambda: work.run_epoch(lambda: False), device)
    operations = 6 * dense_weights(work.network)  # forward, and both gradients
    pairs = len(work.pairs.draw(1))
    return pairs / seconds, work.history[-1]["loss"], machine_speed(device)[0] / operations


def result_of(half: HalfTraining, plan: TrainingPlan, device: torch.device) -> ForwardResult:
    """A half set's training as the later tasks see it, on a device."""
    count = len(half.observations)
    part = HalfResult(
        half=1,
        model=copy.deepcopy(half.model).to(device).eval().requires_grad_(False),
        rows=plan.rows(1),
        held_out=np.zeros(count, dtype=bool),
        latent_mean=half.latent_mean.to(device),
        latent_log_variance=half.latent_log_variance.to(device),
        angles_matrices=half.observations.matrices.to(device),
        shifts_angstroms=half.observations.shifts.to(device),
        rms_displacement=torch.ones(count, device=device),
        quality=torch.ones(count, device=device),
        scale=torch.ones(count, device=device),
        presence=torch.ones(count, 0, device=device),
    )
    box, pixel_size_angstroms = plan.table.box, plan.table.pixel_size_angstroms
    return ForwardResult({1: part}, "benchmark", box, pixel_size_angstroms, "", 0.0, 0, Path("no checkpoint"))


@torch.no_grad()
def reconstruction(sizes: Sizes, project: Path, device: torch.device, threads: int) -> Iterator[Row]:
    """A whole reconstruction of a few bins, and its pieces."""
    case = Case(project, sizes.box, sizes.particles, device)
    forget_peak_memory(device)
    found, seconds = reconstructed(case, sizes.bins)
    memory = gigabytes(device)
    expected, on_cpu = reconstructed(Case(project, sizes.box, sizes.particles), sizes.bins)
    difference = float((found.cpu() - expected).norm() / expected.norm())
    per_second, cpu_per_second = sizes.particles / seconds, sizes.particles / on_cpu
    yield Row(
        f"reconstruction, 2 x {sizes.bins} bins",
        "particles/s",
        per_second,
        cpu_per_second,
        gigabytes=memory,
        difference=difference,
        allowed=ALLOWED["reconstruction"],
    )
    plan = MemoryPlan(sizes.box, sizes.bins, 2 * sizes.bins, FLOAT * case.basis.fields.numel(), IMAGES, sizes.particles)
    yield Row("reconstruction: memory by its plan", "GB", plan.gpu_bytes / 1e9)
    for name, call, floor in pieces(case, machine_speed(device)):
        call()
        yield Row(f"piece: {name}", "ms", 1000 * best_of(3, call, device), floor=None if floor is None else 1000 * floor)


def reconstructed(case: Case, bins: int) -> tuple[Tensor, float]:
    """The deformed map of half 1, and the seconds of all maps."""
    torch.manual_seed(0)  # of the deformations
    truth = read_volume(case.project / MAP).data.to(case.device)
    start = now(case.device)
    problems = {half: deformed_half(case, half, truth, bins) for half in (1, 2)}
    store = SumsStore(case.project / str(case.device), {}, memory_bytes=1 << 36)
    maps, _ = silent_reconstruction(problems, store, torch.ones_like(truth), IMAGES).run()
    return maps.deformed.maps[1], now(case.device) - start


def pieces(case: Case, speed: tuple[float, float]) -> Iterator[tuple[str, Callable[[], object], float | None]]:
    """Name, call and least seconds of each piece."""
    views = particle_views(case.table, case.project, device=case.device)
    members = np.arange(min(IMAGES, len(views.rows)))
    read, grid = views.read(members), SliceGrid(views.plane)
    grid.insert(read.data, read.weight, read.rotations)
    volume, weights, warp = grid.numerator(), grid.weights(), case.warp()
    summed = 8 * 2 * 3 * FLOAT * read.data.numel() / speed[1]
    yield f"{len(members)} images, read", lambda: views.read(members), None
    yield f"{len(members)} images, summed", lambda: grid.insert(read.data, read.weight, read.rotations), summed
    yield "sums of a bin finished", lambda: (grid.numerator(), grid.weights()), None
    yield "product of a bin", lambda: normal_operator(volume, weights), product_floor(case.box, len(weights), speed)
    yield "map pushed", lambda: warp.push(volume), warp_floor(case, speed)
    yield "map pulled", lambda: warp.pull(volume), warp_floor(case, speed)


if __name__ == "__main__":
    sys.exit(main())
