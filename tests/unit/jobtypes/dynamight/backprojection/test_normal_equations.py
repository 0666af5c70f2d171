from __future__ import annotations

import pytest
import torch
from torch import Tensor

from jobtypes.common.fourier import convolve_padded
from jobtypes.common.padded_grid import padded_spectrum
from jobtypes.common.rotations import euler_matrices
from jobtypes.dynamight.backprojection import normal_equations
from jobtypes.dynamight.backprojection.conjugate_gradients import Solution, solve
from jobtypes.dynamight.backprojection.normal_equations import Reconstruction, TotalSums, noise_to_signal, wiener_filter
from jobtypes.dynamight.backprojection.slices import SliceGrid, SlicePlane, read_slices


class OneBin:
    """The sums of views of a map without noise, whose transfer changes sign from shell to shell as a CTF does."""

    device = torch.device("cpu")

    def __init__(self, truth: Tensor, n_views: int) -> None:
        plane = SlicePlane(truth.shape[0])
        rotations = euler_matrices(180 * torch.rand(n_views, 3, generator=torch.Generator().manual_seed(1))).float()
        transfer = torch.sin(3 + 20 * (2 * plane.shells / plane.box) ** 2)
        self._grid = SliceGrid(plane)
        data = read_slices(padded_spectrum(truth), plane, rotations) * transfer**2
        self._grid.insert(data, (transfer**2).repeat(n_views, 1), rotations)

    def __len__(self) -> int:
        return 1

    def numerator(self, m: int) -> Tensor:
        return self._grid.numerator()

    def weights(self, m: int) -> Tensor:
        return self._grid.weights()


def cloud(box: int) -> Tensor:
    """(N, N, N) map of forty small blobs."""
    axis = torch.arange(box) - box / 2
    places = torch.randn(40, 3, generator=torch.Generator().manual_seed(0)) * box / 12
    profiles = torch.exp(-((axis[:, None, None] - places) ** 2) / 2.9)
    return torch.einsum("xa,ya,za->zyx", *(profiles[:, :, a] for a in range(3)))


def solved(sums: OneBin, iterations: int) -> Solution:
    return Reconstruction(sums, TotalSums(sums)).solve(iterations=iterations, tolerance=1e-4)


def correlation(a: Tensor, b: Tensor) -> float:
    return float(torch.corrcoef(torch.stack((a.flatten(), b.flatten())))[0, 1])


@pytest.mark.parametrize("n_views", [1, 2])
def test_few_iterations_are_enough_for_the_map_of_few_views(n_views: int) -> None:
    """The first steps must not go into the gaps between views, where next to nothing is known."""
    truth = cloud(64)
    sums = OneBin(truth, n_views)
    few, many = (correlation(solved(sums, iterations).volume, truth) for iterations in (10, 60))
    assert few > 0.75 * many > 0.1


def test_where_views_leave_no_gaps_their_power_is_taken_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    sums = OneBin(cloud(32), 300)
    found = solved(sums, 30)
    monkeypatch.setattr(normal_equations, "LEAST_POWER", 0.0)
    plain = solved(sums, 30)
    assert found.iterations == plain.iterations < 30
    torch.testing.assert_close(found.volume, plain.volume, rtol=0, atol=1e-3 * float(plain.volume.abs().max()))


def positive_matrix(n: int) -> torch.Tensor:
    root = torch.randn(n, n, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return root @ root.T + 0.1 * torch.eye(n, dtype=torch.float64)


def test_conjugate_gradients_end_after_as_many_steps_as_there_are_unknowns():
    matrix, truth = positive_matrix(8), torch.arange(8, dtype=torch.float64)
    found = solve(lambda x: matrix @ x, matrix @ truth, precondition=lambda x: x, iterations=8, tolerance=1e-12)
    torch.testing.assert_close(found.volume, truth, rtol=1e-6, atol=1e-6)


def test_a_perfect_start_needs_no_step():
    matrix, truth = positive_matrix(6), torch.ones(6, dtype=torch.float64)
    found = solve(lambda x: matrix @ x, matrix @ truth, precondition=lambda x: x, start=truth)
    assert found.iterations == 0
    assert torch.equal(found.volume, truth)


def test_a_zero_right_side_gives_zero():
    found = solve(lambda x: x, torch.zeros(3), precondition=lambda x: x)
    assert torch.equal(found.volume, torch.zeros(3))
    assert found.residual == 0


def test_the_solution_stays_in_the_range_of_the_preconditioner():
    matrix = positive_matrix(6)
    keep = torch.tensor([1.0, 1, 1, 0, 0, 0], dtype=torch.float64)
    found = solve(lambda x: matrix @ x, torch.ones(6, dtype=torch.float64), precondition=lambda x: x * keep, tolerance=1e-12)
    assert torch.equal(found.volume[3:], torch.zeros(3, dtype=torch.float64))
    torch.testing.assert_close((matrix @ found.volume)[:3], torch.ones(3, dtype=torch.float64), rtol=1e-6, atol=1e-6)


def test_a_direction_without_curvature_is_left_alone():
    scale = torch.tensor([1.0, 1e-9], dtype=torch.float64)
    found = solve(lambda x: scale * x, torch.ones(2, dtype=torch.float64), precondition=lambda x: x)
    assert float(found.volume.abs().max()) < 10  # not 1e9
    assert not found.reached


def test_a_search_that_goes_astray_ends_and_the_best_iterate_is_returned():
    """A matrix with one negative eigenvalue, which shows when the search has found the others."""
    scale = torch.tensor([1.0, 2.0, 3.0, -0.02], dtype=torch.float64)
    right = torch.tensor([1.0, 1.0, 1.0, 0.05], dtype=torch.float64)
    seen = []
    found = solve(
        lambda x: scale * x,
        right,
        precondition=lambda x: x,
        iterations=50,
        tolerance=1e-9,
        after_iteration=lambda _, residual: seen.append(residual),
    )
    assert found.residual == min(seen)
    assert float((right - scale * found.volume).norm() / right.norm()) == pytest.approx(found.residual)
    assert len(seen) < 6


def test_a_start_that_is_worse_than_none_is_not_taken():
    matrix, truth = positive_matrix(6), torch.ones(6, dtype=torch.float64)
    words = {"precondition": lambda x: x, "iterations": 2}
    from_zero = solve(lambda x: matrix @ x, matrix @ truth, **words)
    found = solve(lambda x: matrix @ x, matrix @ truth, start=-9 * truth, **words)
    assert torch.equal(found.volume, from_zero.volume)


def test_a_solution_says_whether_it_reached_the_tolerance():
    matrix, right = positive_matrix(8), torch.ones(8, dtype=torch.float64)
    reached = [
        solve(lambda x: matrix @ x, right, precondition=lambda x: x, iterations=n, tolerance=1e-6).reached for n in (1, 30)
    ]
    assert reached == [False, True]


def test_a_convolution_does_not_wrap_round():
    volume = torch.zeros(4, 4, 4)
    volume[0, 0, 3] = 1
    kernel = torch.zeros(8, 8, 8)
    kernel[0, 0, 1] = 1  # moves by +1 along x: out of the box
    spectrum = torch.fft.rfftn(kernel)
    kernel_sum = torch.fft.rfftn(kernel + kernel.roll(-2, 2)).real  # and by -1, so that the spectrum is real
    assert spectrum.imag.abs().max() > 0
    moved = convolve_padded(volume, kernel_sum)
    expected = torch.zeros(4, 4, 4)
    expected[0, 0, 2] = 1
    torch.testing.assert_close(moved, expected, rtol=0, atol=1e-6)


def test_nothing_is_believed_beyond_the_first_fsc_below_zero():
    ratio = noise_to_signal(torch.tensor([1.0, 0.5, -0.1, 0.9]))
    torch.testing.assert_close(ratio, torch.tensor([0.0, 1.0, 999.0, 999.0]), rtol=1e-3, atol=1e-6)


def test_a_perfect_fsc_leaves_the_map_as_it_is_inside_nyquist():
    axis = torch.arange(8.0) - 4
    blob = torch.exp(-((axis**2)[:, None, None] + (axis**2)[:, None] + axis**2) / 4)
    torch.testing.assert_close(wiener_filter(blob, torch.ones(5)), blob, rtol=0, atol=0.01)
    torch.testing.assert_close(wiener_filter(blob, torch.tensor([1.0, 0, 0, 0, 0])), torch.full((8, 8, 8), float(blob.mean())))
