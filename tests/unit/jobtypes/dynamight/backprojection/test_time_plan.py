from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from jobtypes.dynamight.backprojection.slices import SlicePlane
from jobtypes.dynamight.backprojection.time_plan import Costs, TimePlan, count_moving, measure_costs

COSTS = Costs(particle=0.01, bin=1.0, product=2.0, warp=3.0, iteration=0.25, state=4.0, tabulation=5.0)


def test_every_piece_counts_as_often_as_it_is_done():
    plan = TimePlan(COSTS, n_particles=1000, n_held_out=100, n_bins=(3, 4), iterations=5)
    assert plan.summing_seconds == pytest.approx(0.01 * 1100 + 2 * 7 * 1.0)
    assert plan.solving_seconds([6]) == pytest.approx(6 * (7 * (2.0 + 3.0) + 2 * 2.0 + 4 * 0.25))
    assert plan.other_seconds == pytest.approx(7 * (4.0 + 1.5) + 2 * 5.0)
    assert plan.usual_seconds == pytest.approx(25 + (5 + 4 + 5) * 40 + 48.5)
    assert plan.most_seconds == pytest.approx(25 + (5 + 6 + 6) * 40 + 48.5)


def test_without_held_out_particles_there_is_one_solve_and_nothing_to_judge():
    plan = TimePlan(COSTS, n_particles=10, n_held_out=0, n_bins=(1, 1), iterations=10)
    assert plan.usual_seconds == pytest.approx(0.1 + 4 * 1.0 + 6 * (2 * 5.0 + 2 * 2.0 + 4 * 0.25) + 2 * 5.0)


def test_the_plan_says_the_whole_time_and_its_pieces():
    sentence = TimePlan(COSTS, 1000, 100, (3, 4), 5).sentence()
    assert sentence.startswith("Time: about 11 min (at most 13 min), of which 25 s to sum the particles;")
    assert "10 ms for a particle, 1000 ms for a bin, 5000 ms for a bin in an iteration" in sentence


def test_voxels_that_move_are_counted_on_a_coarse_grid_nearly_as_on_the_fine_one():
    points = torch.zeros(1, 3)
    fine, coarse = (count_moving(points, box=box, pixel_size_angstroms=1.0) for box in (64, 128))
    assert coarse == pytest.approx(fine, rel=0.2)


class Views:
    """Particles that are read at once."""

    def __init__(self, box: int) -> None:
        self.plane, self.rows = SlicePlane(box), np.arange(3)
        self.images = type("Images", (), {"table": type("Table", (), {"pixel_size_angstroms": 2.0})})

    def particles_together(self, n_images: int) -> int:
        return n_images

    def read(self, members: np.ndarray) -> object:
        terms = torch.ones(len(members), len(self.plane))
        read = {"data": terms.to(torch.complex64), "weight": terms, "rotations": torch.eye(3).expand(len(members), 3, 3)}
        return type("Read", (), read)


class Field:
    n_fields = 2

    def basis(self, points: torch.Tensor) -> torch.Tensor:
        return torch.ones(2, len(points), 3)


def test_costs_are_those_of_one_particle_one_bin_and_all_voxels_that_move():
    """With a clock that ticks once at every look each piece takes a second."""
    ticks = itertools.count()
    words = {"order": "cubic", "clock": lambda: float(next(ticks))}
    still = measure_costs(Views(8), Field(), torch.zeros(1, 3), n_moving=0, **words)
    assert still == Costs(particle=1 / 3, bin=1.0, product=1.0, warp=0.0, iteration=2.0, state=1.0, tabulation=0.0)
    moving = measure_costs(Views(8), Field(), torch.zeros(1, 3), n_moving=128, **words)
    assert (moving.warp, moving.tabulation) == (2.0, 1.0)  # the copies of the map take one, the voxels the other
