"""How near densities of states are to the truth of a simulated set, before and after the widths of the posteriors are taken out.

The truth is the particles' true state on the first motion (`truth/t.npy` of the simulation), carried to the coordinate that the
model gives particles of that state on average. Distances are total variation: 0 the same, 1 nothing in common; some of it is due
to the few particles in each cell.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
from measuring import print_table
from numpy.typing import NDArray

from jobtypes.common.conventions import HALVES
from jobtypes.dynamight.model.result import load_centred_result
from jobtypes.dynamight.visualization.landscape.likelihoods import likelihoods_of
from jobtypes.dynamight.visualization.landscape.overview import overview_of
from jobtypes.dynamight.visualization.session import Session

Array = NDArray[np.float64]
_REGRESSION_WIDTH = 0.03  # of the motion, over which particles tell the coordinate of a true state
_PLACES = np.linspace(0, 1, 201)


def main() -> None:
    """Print a table of both half sets, and the stable states."""
    arguments = parse()
    truth = np.load(arguments.truth)
    truth = truth.reshape(len(truth), -1)[:, 0]
    os.chdir(arguments.project)
    forward = load_centred_result(Path(arguments.job_directory))
    sessions = {half: Session(Path(arguments.job_directory), forward, half) for half in HALVES}
    overview = overview_of(sessions, 1, seed=1)
    line, rows = overview.landscapes[0], []
    for half, session in sessions.items():
        found = likelihoods_of(session, (0,), sessions[1])
        states = true_coordinates(truth[session.part.rows[session.part.good.numpy()]], found.means[:, 0].numpy())
        edges = np.linspace(states.min(), states.max(), arguments.cells + 1)
        shares = np.histogram(states, edges)[0] / len(states)
        population = line.populations[half]
        distances = [apart(density, line.grid.edges[0], edges, shares) for density in (population.plain, population.density)]
        spread = [float(found.posterior_means.std()), float(found.posterior_covariances[:, 0, 0].median().sqrt())]
        rows.append((f"half {half}", *(f"{value:.3f}" for value in (*distances, *spread))))
    print_table(["", "posterior means", "deconvolved", "spread, A", "width of a posterior, A"], rows)
    print(overview.sentence())


def parse() -> argparse.Namespace:
    """Words of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("project", type=Path, help="project directory")
    parser.add_argument("job_directory", help="trained job, e.g. DynaMight/job002")
    parser.add_argument("truth", type=Path, help="true place of each particle on its motions, 0 to 1: truth/t.npy")
    parser.add_argument("--cells", type=int, default=12, help="in which densities are compared")
    return parser.parse_args()


def true_coordinates(truth: Array, seen: Array) -> Array:
    """Coordinates (n,) A of true places (n,), by the mean of what is seen (n,) A of particles in like ones."""
    weights = np.exp(-0.5 * ((_PLACES[:, None] - truth) / _REGRESSION_WIDTH) ** 2)
    means = (weights @ seen) / np.maximum(weights.sum(1), 1e-9)
    return np.interp(truth, _PLACES, means)


def apart(density: Array, grid: Array, edges: Array, shares: Array) -> float:
    """Total variation distance of a density on a grid of edges (m + 1,) A from shares (c,) in broader cells."""
    cumulative = np.concatenate(([0.0], np.cumsum(density * np.diff(grid))))
    ends = np.concatenate(([grid[0]], edges[1:-1], [grid[-1]]))  # what lies beyond the outermost true states is theirs
    return 0.5 * float(np.abs(np.diff(np.interp(ends, grid, cumulative)) - shares).sum())


if __name__ == "__main__":
    main()
