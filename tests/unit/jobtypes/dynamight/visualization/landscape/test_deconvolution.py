from __future__ import annotations

import numpy as np
import pytest
import torch

from jobtypes.dynamight.visualization.landscape.deconvolution import DensityFit, Grid, densities_of, kernels
from jobtypes.dynamight.visualization.landscape.likelihoods import Likelihoods


def apart(first: np.ndarray, second: np.ndarray, cell: float) -> float:
    """Total variation distance of two densities (cells,), in cells of three, so that the truth's own noise counts little."""
    broad = [density.reshape(-1, 3).sum(1) for density in (first, second)]
    return 0.5 * float(np.abs(broad[0] - broad[1]).sum() * cell)


@pytest.mark.parametrize(("kind", "most"), [("even", 0.15), ("two_states", 0.25), ("beta", 0.12)])
def test_a_broad_posterior_does_not_look_like_a_broad_population(crowd, kind: str, most: float) -> None:
    made = crowd(kind, widths=(1.0, 3.0))
    cell = made.landscape.grid.cell
    for half, population in made.landscape.populations.items():
        truth = made.true_density(half)
        before, after = (apart(density, truth, cell) for density in (population.plain, population.density))
        assert after < most
        assert after < before
        assert population.density.sum() * cell == pytest.approx(1)


def test_errors_cover_what_the_densities_are_off(crowd) -> None:
    made = crowd("beta")
    landscape = made.landscape
    truth = np.mean([made.true_density(half) for half in (1, 2)], axis=0)
    middle = landscape.mean > 0.2 * landscape.mean.max()
    smooth = np.convolve(truth, np.ones(5) / 5, mode="same")
    off = np.abs(landscape.mean - smooth)[middle]
    assert np.median(off / landscape.error[middle]) < 3


def test_sharp_images_are_counted_as_they_are() -> None:
    places = np.repeat([-2.0, 0.0, 3.0], [50, 20, 30])[:, None]
    n = len(places)
    means, precisions = torch.from_numpy(places), torch.full((n, 1, 1), 1e6).double()
    sure = Likelihoods(means, precisions, means, 1 / precisions, torch.ones(n).double())
    grid = Grid((np.linspace(-4, 4, 17),))
    (density,) = densities_of(kernels(sure, grid), [torch.ones(n)], grid, DensityFit(0.0, 200))
    near = {place: float(density[np.abs(grid.middles[0] - place) < 0.6].sum()) for place in (-2.0, 0.0, 3.0)}
    assert near == pytest.approx({-2.0: 0.5, 0.0: 0.2, 3.0: 0.3}, abs=0.01)


def test_an_image_that_says_nothing_changes_nothing() -> None:
    grid = Grid((np.linspace(-4, 4, 17),))
    blind = Likelihoods(*(torch.zeros(shape).double() for shape in ((5, 1), (5, 1, 1), (5, 1), (5, 1, 1), (5,))))
    assert torch.equal(kernels(blind, grid), torch.ones(5, 16))


def test_a_turned_normal_is_no_wider_than_it_is() -> None:
    axes = np.linalg.qr(np.array([[1.0, 1.0], [-1.0, 1.0]]))[0]
    precision = axes @ np.diag([4.0, 0.25]) @ axes.T
    one = Likelihoods(
        torch.zeros(1, 2).double(), torch.from_numpy(precision)[None], torch.zeros(1, 2).double(), torch.eye(2)[None].double(),
        torch.ones(1).double(),
    )  # fmt: skip
    grid = Grid((np.linspace(-6, 6, 61), np.linspace(-6, 6, 61)))
    weights = kernels(one, grid)[0].double().numpy()
    points = grid.points().numpy()
    covariance = np.einsum("n,nc,nd->cd", weights, points, points) / weights.sum()
    assert np.allclose(covariance, np.linalg.inv(precision), atol=0.15)
