from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from jobtypes.dynamight.model.result import ForwardResult
from jobtypes.dynamight.visualization.landscape.likelihoods import _without_crowd, likelihoods_of
from jobtypes.dynamight.visualization.session import Session


def test_what_the_images_say_is_found_again_behind_the_assumed_crowd() -> None:
    generator = torch.Generator().manual_seed(1)
    n, d = 40, 3
    gradient = torch.randn(n, 2, d, generator=generator, dtype=torch.float64)
    said = torch.randn(n, d, generator=generator, dtype=torch.float64)  # most likely latents
    precision = torch.rand(n, d, generator=generator, dtype=torch.float64) * 20 + 2
    variance = 1 / (precision + 1)  # with a standard normal crowd
    latents = variance * precision * said
    values = torch.einsum("ncd,nd->nc", gradient, latents)
    spread = gradient * variance.sqrt()[:, None]
    found = _without_crowd(values, spread, variance.sqrt(), latents, torch.ones(n, dtype=torch.float64))
    # along two coordinates of three latents the crowd stays in what is not seen of them; where it says little, hardly anything
    straight = torch.einsum("ncd,nd->nc", gradient, said)
    assert float((found.means - straight).abs().median()) < 0.25 * float((values - straight).abs().median())


def test_one_latent_gives_exactly_the_likelihood() -> None:
    gradient = torch.tensor([[[2.0]], [[2.0]]], dtype=torch.float64)
    said, precision = torch.tensor([[1.5], [-0.5]], dtype=torch.float64), torch.tensor([[3.0], [0.5]], dtype=torch.float64)
    variance = 1 / (precision + 1)
    latents = variance * precision * said
    found = _without_crowd(
        torch.einsum("ncd,nd->nc", gradient, latents),
        gradient * variance.sqrt()[:, None],
        variance.sqrt(),
        latents,
        torch.ones(2),
    )
    assert torch.allclose(found.means, 2 * said, atol=1e-4)
    assert torch.allclose(found.precisions[:, 0], precision / 4, rtol=1e-3)


def test_an_image_that_says_nothing_has_no_precision() -> None:
    gradient = torch.ones(1, 1, 1, dtype=torch.float64)
    found = _without_crowd(
        torch.zeros(1, 1).double(), gradient, torch.ones(1, 1).double(), torch.zeros(1, 1).double(), torch.ones(1)
    )
    assert float(found.precisions.abs().max()) == 0


@pytest.mark.parametrize("half", [1, 2])
def test_particles_lie_where_the_session_has_them(flexible_job, forward: ForwardResult, half: int) -> None:
    sessions = {one: Session(flexible_job.directory, forward, one) for one in (1, 2)}
    found = likelihoods_of(sessions[half], (0, 1), sessions[half])
    assert torch.allclose(found.posterior_means.float(), sessions[half].coordinates[:, :2], atol=1e-4)
    seen_from_other = likelihoods_of(sessions[half], (0,), sessions[3 - half])
    expected = sessions[3 - half].other_half_coordinates()[:, :1]
    assert torch.allclose(seen_from_other.posterior_means.float(), expected, atol=1e-4)


def test_junk_is_left_out(flexible_job, forward: ForwardResult) -> None:
    part = forward.halves[1]
    quality = torch.ones(len(part.rows))
    quality[:4] = 0.1
    marked = replace(forward, halves={**forward.halves, 1: replace(part, quality=quality)})
    session = Session(flexible_job.directory, marked, 1)
    assert len(likelihoods_of(session, (0,), session)) == len(part.rows) - 4
