"""Time of a training step and epoch of the forward deformations, beside the published decoder in the same run.

Makes particles, then times both at the same number of Gaussians, box and batch. As in the job, each half set has half of the
threads, and an epoch runs both side by side: on a CPU in a process each, on a GPU in a thread each, and with one thread one after
the other. The baseline is timed in the same two ways.

An epoch is all that one epoch does: of ours, training and the held-out particles; of the published program, training and its
passes for calibration, validation and the comparison of the half sets, its neighbour graphs and maps, images and CTF read anew.
Ours is the mean of several epochs, since some of its work is done in some epochs only.
"""

from __future__ import annotations

import argparse
import math
import time
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from operator import attrgetter
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from floors import step_floor
from made_project import CLOUD_SIGMA_ANGSTROMS, forward_options, make_particles
from measuring import Stopwatch, count_processor_time, machine_speed, now, print_table
from published_decoder import PublishedBatch, PublishedModel, decode_only, graph, training_step

from jobtypes.common.conventions import HALVES
from jobtypes.common.ctf import ctf
from jobtypes.common.fourier import frequencies_2d
from jobtypes.common.rotations import euler_matrices
from jobtypes.dynamight.forward_deformations import training
from jobtypes.dynamight.forward_deformations.plan import TrainingPlan, make_plan
from jobtypes.dynamight.forward_deformations.preparation import prepare_half
from jobtypes.dynamight.forward_deformations.training import HalfTraining
from jobtypes.dynamight.model import displacement
from jobtypes.dynamight.options import ForwardOptions

PARTS = ("data", "encoder", "decoder", "projection", "FFT", "loss and strain", "backward, optimiser", "rest")
HELD_OUT, CALIBRATION = 0.1, 0.1  # shares of the particles
# The fastest of so many blocks of epochs counts. At the default sizes every block learns the pose prior twice.
BLOCKS, EPOCHS_OF_BLOCK = 3, 9


def parse() -> argparse.Namespace:
    """Words of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--particles", type=int, default=2000, help="both halves together; a tenth is held out of training")
    parser.add_argument("--box", type=int, default=64)
    parser.add_argument("--gaussians", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2, help="of the job: half of them for each half set")
    parser.add_argument("--baseline-steps", type=int, default=3, help="steps of the published decoder; 0: leave it out")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--processor-time", action="store_true", help="of all threads together, for a machine that is busy")
    return parser.parse_args()


def options_of(words: argparse.Namespace) -> ForwardOptions:
    """Options of the job."""
    return forward_options(gaussians=words.gaussians, batch=words.batch, threads=words.threads)


def main() -> None:
    """Measure and print."""
    words = parse()
    if words.processor_time:
        count_processor_time()
    device = torch.device(words.device)
    with TemporaryDirectory() as folder:
        project = Path(folder)
        make_particles(project, particles=words.particles, box=words.box)
        plan = make_plan(options_of(words), project)
        with BothHalves(words, project, device, side_by_side=plan.halves_side_by_side) as both:
            compare_epochs(words, plan, both)
        compare_steps(words, plan, half_set(1, words, project, device), device)


def compare_epochs(words: argparse.Namespace, plan: TrainingPlan, both: BothHalves) -> None:
    """Print the time of an epoch at full resolution of both halves."""
    both.seconds("epoch")  # plans of transforms, pages of memory
    blocks = [sum(both.seconds("epoch") for _ in range(EPOCHS_OF_BLOCK)) for _ in range(BLOCKS)]
    seconds = min(blocks) / EPOCHS_OF_BLOCK
    visits = [int((~plan.held_out[plan.rows(half)]).sum()) for half in HALVES]
    steps = math.ceil(max(visits) / words.batch)
    print(f"An epoch of both halves, {sum(visits)} training particles, {steps} steps of each: {seconds:.2f} s")
    if not words.baseline_steps:
        return
    rows = []
    for name, (count, method) in published_epoch(len(plan.table), words.batch, steps).items():
        once = min(both.seconds(f"published.{method}") for _ in range(words.baseline_steps))
        rows.append((name, count, once))
    theirs = sum(count * once for _, count, once in rows)
    trained = rows[0][1] * rows[0][2]
    print(f"The published program's epoch:                              {theirs:.2f} s, ratio {theirs / seconds:.1f}")
    print(f"The training steps alone of it:                             {trained:.2f} s, ratio {trained / seconds:.1f}\n")
    table = [[name, f"{count:.1f}", f"{1000 * once:.0f}", f"{count * once:.2f}"] for name, count, once in rows]
    print_table(["of the published epoch, both halves at once", "times", "ms", "s"], table)


def published_epoch(particles: int, batch: int, steps: int) -> dict[str, tuple[float, str]]:
    """How often an epoch of a half set does what: name -> (times, method of `Published`).

    Its held-out tenth of all particles is seen by both half sets' models: with gradients for validation, and without by four
    decoders for their comparison. Calibration sees a tenth of the training particles twice.
    """
    held_out = HELD_OUT * particles / batch
    calibration = 2 * CALIBRATION * steps
    return {
        "training": (steps, "step"),
        "calibration and validation": (calibration + held_out, "step"),
        "comparison of the half sets": (2 * held_out, "compare"),
        "images and CTF": (steps + calibration + 1.5 * held_out, "read"),
        "neighbour graphs": (3, "neighbours"),
        "maps": (1, "render"),
    }


def compare_steps(words: argparse.Namespace, plan: TrainingPlan, half: HalfSet, device: torch.device) -> None:
    """Print the time of a step of one half set, part by part."""
    ours = parts_of_step(half.ours, plan, device)
    theirs = half.published.parts_of_step(words.baseline_steps) if words.baseline_steps else {}
    speed = machine_speed(device)
    floor = step_floor(half.ours.model, half.ours.projector, batch=words.batch, n_terms=len(plan.band), speed=speed)
    rows = [[part, *_cells(ours[part], floor.get(part, 0.0), theirs.get(part, 0.0))] for part in PARTS]
    rows.append(["a step", *_cells(sum(ours.values()), sum(floor.values()), sum(theirs.values()))])
    print(
        f"\nA step of one half set: {words.gaussians} Gaussians, box {words.box}, batch {words.batch}, {len(plan.band)} Fourier "
        f"terms, {torch.get_num_threads()} thread(s); {speed[0] / 1e9:.0f} GFLOP/s in a matrix product, "
        f"{speed[1] / 1e9:.1f} GB/s in a copy. Milliseconds:\n"
    )
    print_table(["", "ours", "floor", "published", "ratio"], rows)


def steps_of_epoch(half: HalfTraining) -> int:
    """Batches of an epoch."""
    return math.ceil(len(half.training) / half.settings.batch_size)


def parts_of_step(half: HalfTraining, plan: TrainingPlan, device: torch.device) -> dict[str, float]:
    """Seconds per step of each part, over an epoch of one half set."""
    watch = Stopwatch(device)
    model = half.model
    watch.watch(half.observations, "batch", "data")
    watch.watch(model, "encode", "encoder")
    watch.watch(model, "project_as", "projection")
    watch.watch(half, "misfit", "loss and strain")
    watch.watch(half, "_step", "backward, optimiser")
    watch.watch(model.field, "coefficients", "decoder")
    watch.watch(displacement.Frame, "basis", "decoder")
    grid = half.projector.grid(len(plan.band))
    watch.watch(grid, "terms", "FFT")  # forward, and of the consensus for the encoder
    watch.watch(grid, "images", "FFT")  # backward
    watch.watch(half.projector.backend, "splat_adjoint", "projection")
    watch.watch(training, "strain", "loss and strain")

    def epoch() -> dict[str, float]:
        watch.seconds.clear()
        start = now(device)
        half.run_epoch(plan.last_epoch, lambda: False)
        rest = now(device) - start - sum(watch.seconds.values())
        return {part: seconds / steps_of_epoch(half) for part, seconds in (watch.seconds | {"rest": rest}).items()}

    return min((epoch() for _ in range(3)), key=lambda parts: sum(parts.values()))


class HalfSet:
    """One half set: ours, and the published program beside it."""

    def __init__(self, half: int, words: argparse.Namespace, project: Path, device: torch.device) -> None:
        torch.set_num_threads(max(1, words.threads // len(HALVES)))
        plan = make_plan(options_of(words), project)
        self._last = plan.last_epoch
        self.ours = prepare_half(half, plan, device=device, scratch=None, after_batch=lambda done: None)
        self.published = Published(words, plan, half, device)

    def epoch(self) -> None:
        """One epoch of ours."""
        self.ours.run_epoch(self._last, lambda: False)
        self.ours.held_out_objective(self._last)


class BothHalves:
    """Both half sets at the same work: side by side in a process each, on a GPU in a thread each; else one after the other."""

    def __init__(self, words: argparse.Namespace, project: Path, device: torch.device, *, side_by_side: bool) -> None:
        self._where, self._processor_time = (words, project, device), words.processor_time
        self._workers: list[Executor]
        if side_by_side and device.type == "cpu":
            self._workers = [ProcessPoolExecutor(1, mp_context=get_context("spawn")) for _ in HALVES]
            return
        self._workers = [ThreadPoolExecutor(len(HALVES) if side_by_side else 1)] * len(HALVES)
        for half in HALVES:
            half_set(half, *self._where)

    def __enter__(self) -> BothHalves:
        return self

    def __exit__(self, *raised: object) -> None:
        for worker in self._workers:
            worker.shutdown()

    def seconds(self, work: str) -> float:
        """Seconds from when both are told to call a method of their `HalfSet` until both are done; the first call makes them."""
        start = self._now()
        calls = [worker.submit(do, work, half, *self._where) for half, worker in zip(HALVES, self._workers, strict=True)]
        for call in calls:
            call.result()
        return self._now() - start

    def _now(self) -> float:
        if self._processor_time:
            return sum(worker.submit(time.process_time).result() for worker in set(self._workers))
        return now(self._where[-1])


def do(work: str, half: int, words: argparse.Namespace, project: Path, device: torch.device) -> None:
    """Call a method of a half set of this process."""
    attrgetter(work)(half_set(half, words, project, device))()


made: dict[int, HalfSet] = {}  # in this process


def half_set(half: int, words: argparse.Namespace, project: Path, device: torch.device) -> HalfSet:
    """A half set of this process, made when it is first asked for."""
    if half not in made:
        made[half] = HalfSet(half, words, project, device)
    return made[half]


class Published:
    """The published program at work on the first batch of a half set."""

    def __init__(self, words: argparse.Namespace, plan: TrainingPlan, half: int, device: torch.device) -> None:
        torch.manual_seed(half)
        self._plan, self._device, self._pixel_size_angstroms = plan, device, plan.table.pixel_size_angstroms
        self._frequencies = frequencies_2d(words.box, self._pixel_size_angstroms)
        positions = torch.randn(words.gaussians, 3) * CLOUD_SIGMA_ANGSTROMS / (words.box * self._pixel_size_angstroms)
        self.model = PublishedModel(positions, words.box, n_latent=6).to(device)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-3)
        self._rows = plan.rows(half)[: words.batch]
        images, transfer = self.read()
        matrices = euler_matrices(torch.from_numpy(plan.table.angles_degrees[self._rows])).float().to(device)
        shifts = torch.from_numpy(plan.table.origins_angstroms[self._rows]).float().to(device) / -self._pixel_size_angstroms
        self.batch = PublishedBatch(
            images, transfer, matrices.requires_grad_(), shifts.requires_grad_(), graph(self.model.positions)
        )

    def read(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Images and CTF of the batch."""
        transfer = ctf(self._plan.table.ctf_parameters(self._rows), self._frequencies)
        return self._plan.images.read(self._rows).to(self._device), transfer.to(self._device)

    def step(self, watch: Stopwatch | None = None) -> None:
        """One training step."""
        training_step(self.model, self.optimizer, self.batch, watch or Stopwatch(self._device))

    def compare(self) -> None:
        """One batch of the comparison of the half sets."""
        decode_only(self.model, self.batch)

    def neighbours(self) -> None:
        """The graph of the Gaussians."""
        graph(self.model.positions)

    def render(self) -> None:
        """The consensus map."""
        self.model.render()

    def parts_of_step(self, steps: int) -> dict[str, float]:
        """Seconds of each part, in the fastest of several steps."""
        watches = [Stopwatch(self._device) for _ in range(steps)]
        for watch in watches:
            with watch.part("data"):
                self.read()
            self.step(watch)
        return min((watch.seconds for watch in watches), key=lambda parts: sum(parts.values()))


def _cells(ours: float, floor: float, theirs: float) -> list[str]:
    """Milliseconds and the ratio."""
    milliseconds = [f"{1000 * seconds:.1f}" if seconds else "" for seconds in (ours, floor, theirs)]
    return [*milliseconds, f"{theirs / ours:.1f}" if theirs else ""]


if __name__ == "__main__":
    main()
