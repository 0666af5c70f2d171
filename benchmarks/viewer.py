"""How long the window lets one wait: from a click to the new surface, and for the plot of all particles to be drawn anew.

The model is of random weights: how far it moves does not matter for time. No display is needed: what OpenGL adds depends on it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from measuring import best_of, count_processor_time, print_table

from jobtypes.dynamight.model.control_points import ControlPoints
from jobtypes.dynamight.model.displacement import DisplacementField
from jobtypes.dynamight.model.encoder import Encoder
from jobtypes.dynamight.model.gaussians import GaussianModel
from jobtypes.dynamight.model.half_model import HalfModel
from jobtypes.dynamight.model.poses import RefinedPoses
from jobtypes.dynamight.model.result import ForwardResult, HalfResult
from jobtypes.dynamight.visualization.half_view import HalfView
from jobtypes.dynamight.visualization.latent_drawing import draw_latent_space
from jobtypes.dynamight.visualization.session import Session
from jobtypes.dynamight.visualization.state_surfaces import contour

N_LATENT, N_FIELDS = 4, 16
LIMIT_SECONDS = 0.2


def parse() -> argparse.Namespace:
    """Words of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--particles", type=int, default=500_000)
    parser.add_argument("--box", type=int, default=128)
    parser.add_argument("--gaussians", type=int, default=10_000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--processor-time", action="store_true", help="count the processors' seconds, on a busy machine")
    return parser.parse_args()


def main() -> None:
    """Measure and print."""
    words = parse()
    torch.set_num_threads(words.threads)
    if words.processor_time:
        count_processor_time()
    with torch.no_grad():
        view = HalfView(Session(Path("no job"), made_training(words), 1))
        click = [view.reduction.points[number] for number in (1, 2, 3)]
        level, session = view.surfaces.level, view.session
        coefficients = session.state_coefficients(session.coordinates[1])
        volume = view.surfaces.density(session.gaussians.positions(coefficients))
        mesh = view.surfaces.surface(coefficients, level)
        rows = [
            ["click to new surface", best_of(3, lambda: [view.state_at(point, level) for point in click]) / 3],
            ["  point to state", best_of(3, lambda: session.states_at(view.reduction, click[0]))],
            ["  map of the state", best_of(3, lambda: view.surfaces.density(session.gaussians.positions(coefficients)))],
            ["  marching cubes", best_of(3, lambda: contour(volume, view.surfaces.pixel_size_angstroms, level))],
        ]
        for name in ("amount of motion", "log density", "pose"):
            rows.append([f"plot, {name}", best_of(2, lambda name=name: redraw(view, name))])
    print(
        f"Box {words.box} (drawn at {len(volume)}), {words.gaussians} Gaussians, {len(mesh.vertices)} vertices, "
        f"{words.particles} particles, {words.threads} thread(s).\n"
    )
    print_table(["", "s"], [[name, f"{seconds:.3f}"] for name, seconds in rows])
    print(f"\nThe limit for a click is {LIMIT_SECONDS} s: {'kept' if rows[0][1] <= LIMIT_SECONDS else 'not kept'}.")


def made_training(words: argparse.Namespace) -> ForwardResult:
    """Both halves of a training that never was, with random latents."""
    generator = torch.Generator().manual_seed(0)
    pixel_size_angstroms = 1.5
    length = words.box * pixel_size_angstroms
    direction = torch.nn.functional.normalize(torch.randn(words.gaussians, 3, generator=generator), dim=1)
    positions = 0.3 * length * torch.rand(words.gaussians, 1, generator=generator) ** (1 / 3) * direction  # a full ball
    field = DisplacementField(n_latent=N_LATENT, n_fields=N_FIELDS, control_points=ControlPoints.around(positions, 3 * N_FIELDS))
    field.set_anchors(positions, torch.ones(len(positions)))
    gaussians = GaussianModel(positions, amplitude=1.0, width_angstroms=1.5)
    model = HalfModel(gaussians, field, Encoder(positions[::10].clone(), N_LATENT), RefinedPoses(1), torch.ones(1, words.box))
    model.eval().requires_grad_(False)
    count = words.particles
    latents = torch.randn(count, N_LATENT, generator=generator)
    part = HalfResult(
        half=1,
        model=model,
        rows=np.arange(count),
        held_out=np.zeros(count, dtype=bool),
        latent_mean=latents,
        latent_log_variance=torch.zeros_like(latents),
        angles_matrices=torch.eye(3).expand(count, 3, 3),
        shifts_angstroms=torch.zeros(count, 2),
        rms_displacement=latents.norm(dim=1),
        quality=torch.ones(count),
        scale=torch.ones(count),
        presence=torch.ones(count, 0),
    )
    return ForwardResult(
        halves={1: part},
        identity="benchmark",
        box=words.box,
        pixel_size_angstroms=pixel_size_angstroms,
        star_file="",
        particle_diameter_angstroms=length,
        epoch=0,
        path=Path("no checkpoint"),
    )


def redraw(view: HalfView, name: str) -> None:
    """Draw the latent space anew, as a change of the colouring does."""
    figure = Figure(figsize=(5, 4), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    colouring = view.colouring(name, 4, 1)
    draw_latent_space(figure, figure.add_subplot(), view.reduction, colouring, least_moved=view.session.least_moved)
    canvas.draw()


if __name__ == "__main__":
    main()
