"""Laws of the control points that hold the fields."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from jobtypes.dynamight.model.control_points import NEAREST, SPACINGS_ANGSTROMS, ControlPoints, Level, thinned
from tests.trained_job import fit_control_points


def ball(n: int = 3000, radius_angstroms: float = 35.0, seed: int = 0) -> Tensor:
    """A molecule (n, 3) A, evenly filled."""
    generator = torch.Generator().manual_seed(seed)
    direction = torch.nn.functional.normalize(torch.randn(n, 3, generator=generator), dim=1)
    return radius_angstroms * torch.rand(n, 1, generator=generator) ** (1 / 3) * direction


@torch.no_grad()
def with_values(control_points: ControlPoints) -> ControlPoints:
    """Random values at all levels."""
    for seed, level in enumerate(control_points.levels):
        level.values.copy_(torch.randn(level.values.shape, generator=torch.Generator().manual_seed(seed)))
    return control_points


@pytest.fixture
def control_points() -> ControlPoints:
    return with_values(ControlPoints.around(ball(), 6))


def fine_level() -> Level:
    level = Level(thinned(ball(), 6.5), 6.5, 3)
    torch.nn.init.normal_(level.values, generator=torch.Generator().manual_seed(5))
    return level


def test_only_the_coarsest_level_starts_with_values_and_these_are_small():
    torch.manual_seed(0)
    coarse, *finer = ControlPoints.around(ball(), 30).levels
    assert 0.05 < float(coarse.values.detach().std()) < 0.2
    assert all(len(level.points) > len(coarse.points) and bool((level.values == 0).all()) for level in finer)


def test_equal_values_are_had_everywhere(control_points):
    anywhere = torch.cat((ball(200, 30.0, seed=1), ball(200, 120.0, seed=2), torch.tensor([[1000.0, 0.0, -500.0]])))
    with torch.no_grad():
        for number, level in enumerate(control_points.levels):
            level.values.fill_(10.0**number)
    assert torch.allclose(control_points(anywhere), torch.tensor(111.0), rtol=1e-5)


@pytest.mark.parametrize("n", [1, 2, 60])
def test_a_molecule_of_few_points_has_fields_too(n):
    few = with_values(ControlPoints.around(ball(n), 6))
    assert len(few.levels[0].points) <= NEAREST
    at = ball(50, 60.0, seed=1)
    assert bool(few(at).isfinite().all())
    if n == 1:  # alone, it gives its value to all of space
        assert torch.allclose(few(at), sum(level.values for level in few.levels).expand(50, 6))


def test_no_points_have_no_values(control_points):
    assert control_points(torch.zeros(0, 3)).shape == (0, 6)


def test_values_do_not_jump_where_one_control_point_takes_the_place_of_another():
    level = fine_level().double()
    way = torch.linspace(-20, 20, 4001, dtype=torch.float64)[:, None] * torch.tensor([0.8, 0.36, -0.48], dtype=torch.float64)
    nearest = level.nearest(way)
    changes = (nearest.index.sort(1).values[1:] != nearest.index.sort(1).values[:-1]).any(1)
    assert int(changes.sum()) > 20
    steps = level(way, nearest).detach().diff(dim=0).norm(dim=1)
    assert float(steps[changes].max()) < 1.5 * float(steps[~changes].max())
    # the same control points with the farthest left to count would jump
    plain = torch.softmax(-(way[:, None] - level.points[nearest.index]).square().sum(2) / (2 * (0.7 * 6.5) ** 2), dim=1)
    jumps = (plain[:, :, None] * level.values.detach()[nearest.index]).sum(1).diff(dim=0).norm(dim=1)
    assert float(jumps[changes].max()) > 3 * float(steps[changes].max())


def test_slopes_are_those_of_finite_differences(control_points):
    exact = control_points.double()
    points = ball(7, 40.0, seed=3).double().requires_grad_()
    nearest = exact.nearest(points)

    def values(points: Tensor, *of_levels: Tensor) -> Tensor:
        names = [f"levels.{level}.values" for level in range(len(of_levels))]
        result: Tensor = torch.func.functional_call(exact, dict(zip(names, of_levels, strict=True)), (points, nearest))
        return result

    held = tuple(level.values for level in exact.levels)
    assert torch.autograd.gradcheck(values, (points, *held), eps=1e-6, atol=1e-7, nondet_tol=0.0)


def test_every_neighbour_pulls_at_a_point_the_farthest_too():
    level = fine_level().double()
    point = torch.tensor([[1.0, -2.0, 3.0]], dtype=torch.float64)
    nearest = level.nearest(point)
    step = 1e-5 * torch.eye(3, dtype=torch.float64)
    slopes = torch.autograd.functional.jacobian(lambda at: level.weights(at, nearest)[0], point)[:, 0]
    ahead, behind = (torch.stack([level.weights(point + d, nearest)[0] for d in sign * step], dim=1) for sign in (1, -1))
    assert torch.allclose(slopes, (ahead - behind) / 2e-5, atol=1e-8)
    assert torch.allclose(slopes.sum(0), torch.zeros(3, dtype=torch.float64), atol=1e-12)


def test_neighbours_serve_while_points_move_a_little(control_points):
    points = ball(500, 34.0, seed=4)
    nearest = control_points.nearest(points)
    moved = points + 0.5 * torch.nn.functional.normalize(torch.randn(500, 3, generator=torch.Generator().manual_seed(1)), dim=1)
    fresh, kept = control_points(moved).detach(), control_points(moved, nearest).detach()
    assert 0 < float((kept - fresh).norm()) < 0.01 * float(fresh.norm())  # some have other neighbours now, of little weight
    for level, before in zip(control_points.levels, nearest, strict=True):
        assert torch.allclose(level.weights(moved, before).sum(1), torch.ones(500))


def test_the_order_of_points_does_not_matter(control_points):
    points = ball(400, 50.0, seed=6)
    order = torch.randperm(400, generator=torch.Generator().manual_seed(0))
    assert torch.equal(control_points(points[order]), control_points(points)[order])


def test_a_step_has_the_same_bytes_each_time(control_points):
    points = ball(2000, 35.0, seed=7).requires_grad_()
    held = [points, *control_points.parameters()]
    one, other = (torch.autograd.grad(control_points(points).square().sum(), held) for _ in range(2))
    assert all(torch.equal(first, second) for first, second in zip(one, other, strict=True))


def test_two_rigid_halves_on_a_hinge_are_representable():
    points = (torch.rand(6000, 3, generator=torch.Generator().manual_seed(0)) - 0.5) * torch.tensor([120.0, 20.0, 20.0])
    turn = torch.tensor([0.0, 0.0, 0.3])
    motion = torch.cross(torch.where(points[:, :1] < 0, -turn, turn), points, dim=1)  # about a line across the middle
    control_points = ControlPoints.around(points, 3)
    fit_control_points(control_points, points, motion)
    rest = control_points(points).detach() - motion
    assert float(rest.square().sum() / motion.square().sum()) < 0.01


@pytest.mark.parametrize("spacing", SPACINGS_ANGSTROMS)
def test_thinned_points_are_near_all_and_not_too_near_each_other(spacing):
    points = ball()
    chosen = thinned(points, spacing)
    assert float(torch.cdist(points, chosen).min(1).values.max()) <= spacing * (1 + 1e-5)
    apart = torch.cdist(chosen, chosen, compute_mode="donot_use_mm_for_euclid_dist").fill_diagonal_(torch.inf)
    assert float(apart.min()) > spacing * (1 - 1e-5)
    assert torch.equal(thinned(points, spacing), chosen)


def test_points_of_one_place_are_thinned_to_one():
    assert thinned(torch.full((5, 3), 2.0), 6.5).tolist() == [[2.0, 2.0, 2.0]]


def test_a_state_dict_says_how_many_control_points_there_are(control_points):
    state = {f"field.trunk.{name}": value for name, value in control_points.state_dict().items()}
    taken = ControlPoints.of_state(state, "field.trunk.")
    taken.load_state_dict(control_points.state_dict())
    at = ball(100, 50.0, seed=8)
    assert torch.equal(taken(at), control_points(at))


def test_values_that_control_points_can_hold_are_taken_from_points():
    points = 40 * torch.rand(400, 3, generator=torch.Generator().manual_seed(0))
    held = ControlPoints.around(points, 6)
    smooth = torch.cat((points / 20, (points / 15).sin()), dim=1)
    held.take(smooth, points)
    left = held(points).detach() - smooth
    assert float(left.square().mean()) < 0.01 * float((smooth - smooth.mean(0)).square().mean())
    held.take(torch.full((400, 6), 2.5), points)
    assert torch.allclose(held(points), torch.full((400, 6), 2.5), atol=1e-5)
