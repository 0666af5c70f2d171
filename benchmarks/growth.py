"""How the cost of a training grows with particles, box, Gaussians, optics groups and tilts: seconds, megabytes, exponents.

One size is changed at a time. Larger sets of single images point into the same images, so that the disk counts little. An
exponent is the slope of the logarithm of the cost by that of the size, between the two largest sizes, where what is there once
counts least. The megabytes are those of the plan: spectra of all images, and a step of a half set at most.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import starfile
import torch
from made_project import STAR, forward_options, make_particles, make_tilt_series
from measuring import best_of, count_processor_time, print_table

from jobtypes.dynamight.forward_deformations.plan import make_plan
from jobtypes.dynamight.forward_deformations.posteriors import PosteriorStage
from jobtypes.dynamight.forward_deformations.preparation import prepare_half

PARTS = ("table and plan", "images", "an epoch", "last stage", "spectra, MB", "a step, MB")
MOST_IMAGES = 1000  # different ones


@dataclass(frozen=True)
class Sizes:
    """Of a set and its model; with more than one tilt it has tilt series of one optics group."""

    particles: int
    box: int
    gaussians: int
    groups: int
    tilts: int = 1


def parse() -> argparse.Namespace:
    """Words of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--particles", type=int, nargs="*", default=[1000, 10_000, 100_000], help="both halves together")
    parser.add_argument("--boxes", type=int, nargs="*", default=[64, 128, 256])
    parser.add_argument("--gaussians", type=int, nargs="*", default=[1000, 3000, 10_000, 30_000])
    parser.add_argument("--groups", type=int, nargs="*", default=[1, 10, 100], help="optics groups")
    parser.add_argument("--usual", type=int, nargs=4, default=[1000, 64, 1000, 1], help="sizes that are not changed")
    parser.add_argument("--tilts", type=int, nargs="*", default=[11, 21, 31, 41], help="of tilt series")
    parser.add_argument("--tilt-boxes", type=int, nargs="*", default=[48, 64, 96, 128], help="of tilt series")
    parser.add_argument("--tilt-particles", type=int, nargs="*", default=[100, 200, 400], help="in tilt series")
    parser.add_argument("--usual-tilts", type=int, nargs=5, default=[200, 64, 1000, 1, 11], help="their unchanged sizes")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--processor-time", action="store_true", help="of all threads together, for a machine that is busy")
    return parser.parse_args()


def main() -> None:
    """Measure and print."""
    words = parse()
    torch.set_num_threads(words.threads)
    if words.processor_time:
        count_processor_time()
    single, in_tilts = Sizes(*words.usual), Sizes(*words.usual_tilts)
    of_single = {"particles": words.particles, "box": words.boxes, "gaussians": words.gaussians, "groups": words.groups}
    of_tilts = {"particles": words.tilt_particles, "box": words.tilt_boxes, "tilts": words.tilts}
    for usual, changes in ((single, of_single), (in_tilts, of_tilts)):
        if any(changes.values()):
            cost_of_parts(usual, words.threads)  # the first call of everything takes longer
        for name, counts in changes.items():
            if counts:
                measure(usual, name, counts, words.threads)


def measure(usual: Sizes, name: str, counts: list[int], threads: int) -> None:
    """Print what each of several sizes costs, all others as usual."""
    found = {count: cost_of_parts(replace(usual, **{name: count}), threads) for count in counts}
    others = ", ".join(f"{other} {size}" for other, size in vars(usual).items() if other != name)
    print(f"\nBy {name} ({others}), half set 1, seconds where nothing else is said:\n", flush=True)
    rows = [[part, *(f"{found[count][part]:.3g}" for count in counts), exponent(found, part)] for part in PARTS]
    print_table(["", *map(str, counts), "exponent"], rows)


def exponent(found: dict[int, dict[str, float]], part: str) -> str:
    """Slope between the two largest sizes; nothing where there is one."""
    if len(found) < 2:
        return ""
    (small, before), (large, after) = list(found.items())[-2:]
    return f"{math.log(after[part] / before[part]) / math.log(large / small):.2f}"


def cost_of_parts(sizes: Sizes, threads: int) -> dict[str, float]:
    """What each part of a training of half set 1 takes, in seconds and, of memory, megabytes."""
    with TemporaryDirectory() as folder:
        project = Path(folder)
        make_set(project, sizes)
        options = forward_options(gaussians=sizes.gaussians, batch=64, threads=threads)
        plan, planning = timed(lambda: make_plan(options, project))
        device = torch.device("cpu")
        training, reading = timed(lambda: prepare_half(1, plan, device=device, scratch=None, after_batch=lambda done: None))
        training.run_epoch(plan.last_epoch, lambda: False)  # finds noise and scales
        epoch = best_of(2, lambda: training.run_epoch(plan.last_epoch, lambda: False))
        _, posteriors = timed(lambda: PosteriorStage(training).run(plan.last_epoch, lambda: False))
        megabytes = (plan.memory.spectra_bytes / 1e6, plan.memory.step_bytes / 1e6)
        return dict(zip(PARTS, (planning, reading, epoch, posteriors, *megabytes), strict=True))


def make_set(project: Path, sizes: Sizes) -> None:
    """Write particles and map."""
    if sizes.tilts > 1:
        make_tilt_series(project, particles=sizes.particles, box=sizes.box, tilts=sizes.tilts)
        return
    make_particles(project, particles=min(sizes.particles, MOST_IMAGES), box=sizes.box)
    spread(project / STAR, sizes.particles, sizes.groups)


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """What a call returns, and its seconds."""
    results: list[Any] = []
    seconds = best_of(1, lambda: results.append(call()))
    return results[0], seconds


def spread(star: Path, particles: int, groups: int) -> None:
    """Repeat the images of a STAR file, in other views, until there are so many particles, shared out among optics groups."""
    blocks = starfile.read(star)
    rows, optics = blocks["particles"], blocks["optics"]
    copies = rows.iloc[[place % len(rows) for place in range(len(rows), particles)]]
    views = np.random.default_rng(0).uniform(-180, 180, (len(copies), 3))  # rows of one image and one view would count once
    copies = copies.assign(**dict(zip(("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"), views.T, strict=True)))
    rows = pd.concat([rows, copies]).assign(rlnOpticsGroup=[1 + place % groups for place in range(particles)])
    numbers = list(range(1, groups + 1))
    names = [f"group{number}" for number in numbers]
    optics = pd.concat([optics] * groups).assign(rlnOpticsGroup=numbers, rlnOpticsGroupName=names)
    starfile.write({"optics": optics, "particles": rows}, star, overwrite=True)


if __name__ == "__main__":
    main()
