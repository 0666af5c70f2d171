from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from jobtypes.dynamight.model.quality import (
    FACTORS,
    GROUP_SPREAD,
    OTHER_SCALE,
    GroupScales,
    ParticleQuality,
    QualitySums,
    ShellSums,
)

N_SHELLS = 8


def images(count: int, *, signal: float, scales: torch.Tensor, other: torch.Tensor, seed: int = 0):
    """Complex terms of images, x p + other * (independent signal) + noise of power 1, and their predictions p."""
    g = torch.Generator().manual_seed(seed)
    shells = torch.arange(1, N_SHELLS).repeat_interleave(40)

    def draw(power: float) -> torch.Tensor:
        parts = torch.randn(count, len(shells), 2, generator=g) * (power / 2) ** 0.5
        return torch.view_as_complex(parts)

    predicted = draw(signal) / shells.sqrt()
    observed = scales[:, None] * predicted + other[:, None] * draw(signal) / shells.sqrt() + draw(1.0)
    return observed, predicted, shells


def sums_of(observed: torch.Tensor, predicted: torch.Tensor, shells: torch.Tensor) -> ShellSums:
    ones = torch.ones(len(shells))
    return ShellSums.of(observed, predicted, ones.expand(len(observed), -1), shells, ones, N_SHELLS)


def learned(sums: ShellSums, n_times: int = 30) -> ParticleQuality:
    quality = ParticleQuality(len(sums.agreement), N_SHELLS)
    quality.typical.copy_(sums.predicted.mean(0) / sums.terms.clamp(min=1e-6))
    for _ in range(n_times):
        totals = QualitySums.none(N_SHELLS, torch.device("cpu"))
        totals.add(*quality.judge(torch.arange(len(sums.agreement)), sums))
        quality.learn(totals, sums.terms)
    return quality


@pytest.fixture(scope="module")
def mixed():
    """800 images of the molecule with scales of 1 +- 0.2, 100 of nothing, 100 of something three times as strong."""
    g = torch.Generator().manual_seed(1)
    scales = torch.cat((1 + 0.2 * torch.randn(800, generator=g), torch.zeros(200)))
    other = torch.cat((torch.zeros(900), torch.full((100,), 3.0)))
    return scales, learned(sums_of(*images(1000, signal=0.4, scales=scales, other=other)))


def test_images_of_something_else_are_found(mixed):
    _, quality = mixed
    assert quality.probability[:800].mean() > 0.93
    assert quality.probability[800:900].mean() < 0.05
    assert quality.probability[900:].mean() < 0.02
    assert quality.share == pytest.approx(0.8, abs=0.06)


def test_a_quality_is_a_probability(mixed):
    """Of those at a quality q a share of q is the molecule."""
    _, quality = mixed
    is_molecule = (torch.arange(1000) < 800).float()
    sure = quality.probability > 0.9
    assert is_molecule[sure].mean() > 0.95
    assert is_molecule[quality.probability < 0.1].mean() < 0.1


def test_scales_are_found_and_are_1_on_average(mixed):
    scales, quality = mixed
    found = quality.scale[:800]
    assert torch.corrcoef(torch.stack((found, scales[:800])))[0, 1] > 0.85
    assert float((found * quality.probability[:800]).sum() / quality.probability[:800].sum()) == pytest.approx(1, abs=0.02)
    assert quality.scale_spread / quality.mean_scale == pytest.approx(0.2, abs=0.04)


def test_where_there_is_no_signal_nothing_is_claimed():
    """Images that hold hardly anything cannot be told apart: all keep about the share of all."""
    sums = sums_of(*images(300, signal=1e-4, scales=torch.ones(300), other=torch.zeros(300)))
    quality = learned(sums, n_times=1)
    assert float(quality.probability.std()) < 0.03
    assert float(quality.probability.mean()) == pytest.approx(0.9, abs=0.05)


def test_sound_particles_alone_keep_their_weight():
    quality = learned(sums_of(*images(500, signal=0.4, scales=torch.ones(500), other=torch.zeros(500))))
    assert float(quality.probability.mean()) > 0.99
    assert float(quality.scale.std()) < 0.05


def test_quality_falls_with_what_is_not_described():
    other = torch.linspace(0, 2, 5)
    reference = learned(sums_of(*images(500, signal=0.4, scales=torch.ones(500), other=torch.zeros(500))))
    quality = ParticleQuality(5, N_SHELLS)
    state = reference.state_dict() | {name: torch.ones(5) for name in ("probability", "scale", "group_scale")}
    quality.load_state_dict(state)
    one = [image[:1].repeat(5, 1) for image in images(1, signal=0.4, scales=torch.ones(1), other=torch.zeros(1))[:2]]
    _, rest, shells = images(1, signal=0.4, scales=torch.ones(1), other=torch.zeros(1), seed=5)
    quality.judge(torch.arange(5), sums_of(one[0] + other[:, None] * rest, one[1], shells))
    assert (quality.probability.diff() <= 1e-6).all()
    assert quality.probability[0] > 0.9 > 0.1 > quality.probability[-1]


def test_judging_twice_says_the_same(mixed):
    _, quality = mixed
    sums = sums_of(*images(10, signal=0.4, scales=torch.ones(10), other=torch.zeros(10)))
    first = quality.judge(torch.arange(10), sums)
    kept = quality.probability[:10].clone()
    second = quality.judge(torch.arange(10), sums)
    assert torch.equal(first[0], second[0])
    assert torch.equal(kept, quality.probability[:10])


def test_quality_is_that_of_a_sum_over_scales_and_factors():
    """Against a twin that integrates over x on a fine grid, in double precision."""
    observed, predicted, shells = images(
        4, signal=0.4, scales=torch.tensor([1.0, 0.0, 0.5, 1.5]), other=torch.tensor([0.0, 0.0, 0.5, 0.2])
    )
    sums = sums_of(observed, predicted, shells)
    quality = ParticleQuality(4, N_SHELLS)
    quality.typical.copy_(sums.predicted.mean(0) / sums.terms.clamp(min=1e-6))
    quality.judge(torch.arange(4), sums)
    o, p = observed.to(torch.complex128), predicted.to(torch.complex128)
    x = torch.linspace(-6, 7, 13001, dtype=torch.float64)
    per_factor = []
    for k in FACTORS:
        variance = 1 + k * quality.typical.double()[shells]
        log = torch.stack([-((o - one * p).abs().square() / variance + variance.log()).sum(1) for one in x])
        per_factor.append(log)
    log = torch.stack(per_factor)  # (k, x, b)

    def integrated(mean: float, spread: float, of_factors: torch.Tensor) -> torch.Tensor:
        density = -0.5 * ((x - mean) / spread) ** 2 - math.log(spread)
        return (log + density[:, None] + of_factors[:, None, None]).logsumexp((0, 1))

    centred = (quality.log_factors - quality.mean_log_factor).double() / quality.log_factor_spread
    good = integrated(1.0, 0.15, (-0.5 * centred**2).log_softmax(0))
    else_ = integrated(0.0, OTHER_SCALE, torch.full((len(FACTORS),), -math.log(len(FACTORS)), dtype=torch.float64))
    expected = (good - else_ + math.log(0.9 / 0.1)).sigmoid()
    torch.testing.assert_close(quality.probability.double(), expected, atol=2e-3, rtol=0)


def test_sums_of_shells_are_sums_over_their_terms():
    observed, predicted, shells = images(3, signal=1.0, scales=torch.ones(3), other=torch.zeros(3))
    weights = torch.rand(3, len(shells), generator=torch.Generator().manual_seed(2))
    independent = torch.where(torch.arange(len(shells)) % 2 == 0, 1.0, 0.5)
    sums = ShellSums.of(observed, predicted, weights, shells, independent, N_SHELLS)
    for shell in range(N_SHELLS):
        here = shells == shell
        expected = (weights * (predicted.conj() * observed).real)[:, here].sum(1)
        torch.testing.assert_close(sums.agreement[:, shell], expected)
        torch.testing.assert_close(sums.terms[shell], independent[here].sum())


def test_no_image_of_the_molecule_leaves_the_smallest_share():
    quality = ParticleQuality(2, N_SHELLS)
    quality.learn(QualitySums.none(N_SHELLS, torch.device("cpu")), torch.ones(N_SHELLS))
    assert quality.share == pytest.approx(0.05)
    assert all(bool(value.isfinite().all()) for value in quality.state_dict().values())


def test_shells_that_are_new_to_the_band_say_nothing_yet(mixed):
    """Predictions of finer detail, which no training has seen, may be wrong without harm to the particle."""
    _, learned_of_all = mixed
    sums = sums_of(*images(10, signal=0.4, scales=torch.ones(10), other=torch.zeros(10)))
    quality = ParticleQuality(10, N_SHELLS)
    quality.load_state_dict(
        learned_of_all.state_dict() | {"probability": torch.ones(10), "scale": torch.ones(10), "group_scale": torch.ones(10)}
    )
    fine = torch.arange(N_SHELLS) >= 5
    quality.typical[fine] = 0
    quality.judge(torch.arange(10), sums)
    expected = quality.probability.clone()
    wrong = replace(sums, agreement=torch.where(fine, 0.0, sums.agreement), predicted=torch.where(fine, 9.0, sums.predicted))
    totals = QualitySums.none(N_SHELLS, torch.device("cpu"))
    totals.add(*quality.judge(torch.arange(10), wrong))
    assert torch.equal(quality.probability, expected)
    quality.learn(totals, sums.terms)
    assert bool((quality.typical[fine] > 0).all())


def test_powers_follow_the_noise_that_is_their_unit(mixed):
    _, learned_of_all = mixed
    quality = ParticleQuality(1000, N_SHELLS)
    quality.load_state_dict(learned_of_all.state_dict())
    before = torch.full((2, N_SHELLS), 3.0)
    quality.follow_noise(before, 2 * before)
    assert torch.allclose(2 * quality.typical, learned_of_all.typical)


def test_hardly_one_image_of_the_molecule_teaches_nothing_but_the_share():
    quality = ParticleQuality(2, N_SHELLS)
    sums = QualitySums(torch.tensor([100.0, 1e-9, -5.0, 1.0, 2.0, 3.0]).double(), torch.ones(N_SHELLS).double())
    quality.learn(sums, torch.ones(N_SHELLS))
    assert quality.mean_scale == 1
    assert quality.share == pytest.approx(0.05)


@pytest.mark.parametrize("scales", [(1.0, 5.0), (1.0, 0.3), (2.0, 2.0)])
def test_each_optics_group_gets_its_scale(scales: tuple[float, float]) -> None:
    group = torch.arange(600) % 2
    sums = sums_of(*images(600, signal=0.4, scales=torch.tensor(scales)[group], other=torch.zeros(600)))
    found = GroupScales(3, torch.device("cpu"))  # one has no particles
    found.add(group, sums, torch.ones(600))
    expected = torch.tensor(scales, dtype=torch.float64) / (sum(scales) / 2)
    torch.testing.assert_close(found.relative()[:2], expected, rtol=0.03, atol=0)


def test_a_group_of_few_particles_stays_near_the_others() -> None:
    """A twin: the mean of a scale whose prior is a Gaussian around that of all."""
    group = torch.tensor([0] * 400 + [1])
    sums = sums_of(*images(401, signal=0.02, scales=torch.tensor([1.0, 6.0])[group], other=torch.zeros(401)))
    found = GroupScales(2, torch.device("cpu"))
    found.add(group, sums, torch.ones(401))
    agreement, predicted = sums.agreement.double().sum(1), sums.predicted.double().sum(1)
    mean = float(agreement.sum() / predicted.sum())
    precision = 2 * mean**2 * float(predicted[-1])
    expected = (float(agreement[-1] / predicted[-1]) / mean * precision + GROUP_SPREAD**-2) / (precision + GROUP_SPREAD**-2)
    relative = found.relative()
    assert float(relative[1] / relative[0]) == pytest.approx(expected, rel=0.03)
    assert expected < 4


def test_scales_scatter_about_that_of_the_group() -> None:
    group = torch.arange(400) % 2
    strength = torch.tensor([0.5, 1.5])[group]
    observed, predicted, shells = images(400, signal=0.4, scales=strength, other=torch.zeros(400))
    quality = learned(sums_of(observed, predicted * strength[:, None], shells))
    quality.group_scale.copy_(strength)
    quality.judge(torch.arange(400), sums_of(observed, predicted * strength[:, None], shells))
    torch.testing.assert_close(quality.scale, strength, rtol=0.2, atol=0)
    assert float(quality.probability.mean()) > 0.98


def test_a_state_of_before_scales_of_groups_has_them_all_alike() -> None:
    state = ParticleQuality(4, N_SHELLS).state_dict()
    del state["group_scale"]
    quality = ParticleQuality(4, N_SHELLS)
    quality.group_scale.fill_(3)
    quality.load_state_dict(state)
    assert quality.group_scale.tolist() == [1.0] * 4
