"""Time to read the images of a set whose rows are mixed: in the order of the table, and in that on disk with read-ahead."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from measuring import best_of, print_table

from jobtypes.common import image_stacks
from jobtypes.common.particle_images import ParticleImages
from jobtypes.common.particles import read_particles
from jobtypes.simulate.dataset import draw_particles
from jobtypes.simulate.files import write_particles_star, write_stack
from jobtypes.simulate.options import SimulationOptions

PIXEL_SIZE_ANGSTROMS, BATCH = 3.0, 256


def parse() -> argparse.Namespace:
    """Words of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--stacks", type=int, default=600, help="files")
    parser.add_argument("--particles", type=int, default=20000, help="images in them all")
    parser.add_argument("--box", type=int, default=32, help="pixels of their side")
    parser.add_argument("--repeats", type=int, default=3, help="readings of each kind, of which the fastest counts")
    return parser.parse_args()


def main() -> None:
    """Measure and print."""
    words = parse()
    with TemporaryDirectory() as folder:
        project = Path(folder)
        make_set(project, words.stacks, words.particles, words.box)
        table = read_particles(project / "particles.star")
        images, rows = ParticleImages(table, project), np.arange(len(table))
        images.read(rows[:1])  # what is found of grey scales takes time once
        opens = count_opens()
        lines = []
        for name, read in {"in the order of the table": in_turn, "in the order on disk": ahead}.items():
            opens.clear()
            took = best_of(words.repeats, lambda read=read: read(images, rows))
            lines.append((name, took, len(opens) // words.repeats))
    slowest = lines[0][1]
    print(f"{words.particles} images of {words.box} px in {words.stacks} stacks, best of {words.repeats}:\n")
    cells = [[name, f"{1e6 * took / words.particles:.0f}", f"{opened}", f"{slowest / took:.1f}"] for name, took, opened in lines]
    print_table(["", "us per image", "opens", "ratio"], cells)


def in_turn(images: ParticleImages, rows: np.ndarray) -> None:
    """Read batch after batch of the rows as they come."""
    for batch in np.split(rows, range(BATCH, len(rows), BATCH)):
        images.read(batch)


def ahead(images: ParticleImages, rows: np.ndarray) -> None:
    """Read as a training does."""
    for _ in images.stream(rows, BATCH):
        pass


def count_opens() -> list[Path]:
    """A list that every file opened from now on is added to."""
    opened: list[Path] = []
    read_layout: Callable[[Path, str], image_stacks.StackLayout] = image_stacks.read_stack_layout

    def counted(path: Path, name: str) -> image_stacks.StackLayout:
        opened.append(path)
        return read_layout(path, name)

    image_stacks.read_stack_layout = counted
    return opened


def make_set(project: Path, stacks: int, particles: int, box: int) -> None:
    """Write stacks of noise and a STAR file that names their images in random order."""
    rng = np.random.default_rng(0)
    each = -(-particles // stacks)
    for number in range(stacks):
        noise = rng.standard_normal((each, box, box), dtype=np.float32)
        write_stack(project / f"stack{number:05d}.mrcs", noise, PIXEL_SIZE_ANGSTROMS, float16=False)
    names = [f"{place + 1:06d}@stack{number:05d}.mrcs" for number in range(stacks) for place in range(each)]
    drawn = draw_particles(SimulationOptions(nr_particles=particles, box_size=box, angpix=PIXEL_SIZE_ANGSTROMS))
    write_particles_star(
        project / "particles.star",
        [names[place] for place in rng.permutation(len(names))[:particles]],
        poses=drawn.observed,
        optics=drawn.optics,
        half=drawn.half,
        box=box,
        pixel_size_angstroms=PIXEL_SIZE_ANGSTROMS,
    )


if __name__ == "__main__":
    main()
