"""What brings images to one grey scale: noise levels, and when they count."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from jobtypes.common.grey_scale import HalfScale, half_scale, noise_levels, norm_factors
from jobtypes.common.particle_images import ParticleImages
from jobtypes.common.particles import ParticleTable, read_particles
from relion_jobs.contract.errors import UserError
from tests.unit.jobtypes.common.conftest import star_text, write_stack

BOX, COUNT = 32, 400


@pytest.fixture
def make_set(tmp_path: Path) -> Callable[..., ParticleImages]:
    """A set of a disc in noise; its stack, scales (n,) of images and of their noise, and pixel sizes of two optics groups."""

    def make(
        scale: float | np.ndarray = 1.0,
        noise: float | np.ndarray = 1.0,
        strength: float | np.ndarray = 1.0,
        pixel_sizes: tuple[float, float] = (3.0, 3.0),
        **columns: list[str],
    ) -> ParticleImages:
        rng = np.random.default_rng(2)
        images = np.reshape(strength, (-1, 1, 1)) * disc() + np.reshape(noise, (-1, 1, 1)) * rng.normal(size=(COUNT, BOX, BOX))
        write_stack(tmp_path / "p.mrcs", (np.reshape(scale, (-1, 1, 1)) * images).astype(np.float32))
        optics = {"rlnOpticsGroup": ["1", "2"], "rlnOpticsGroupName": ["one", "two"], "rlnImageSize": [str(BOX)] * 2}
        optics |= {"rlnVoltage": ["300"] * 2, "rlnSphericalAberration": ["2.7"] * 2, "rlnAmplitudeContrast": ["0.1"] * 2}
        optics["rlnImagePixelSize"] = [str(size) for size in pixel_sizes]
        zeros = dict.fromkeys(("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi", "rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle"))
        particles = {name: ["0"] * COUNT for name in zeros}
        particles["rlnImageName"] = [f"{i + 1:06d}@p.mrcs" for i in range(COUNT)]
        particles["rlnRandomSubset"] = ["1", "2"] * (COUNT // 2)
        particles["rlnOpticsGroup"] = ["1"] * (COUNT // 2) + ["2"] * (COUNT // 2)
        (tmp_path / "p.star").write_text(star_text({"optics": optics, "particles": particles | columns}))
        return ParticleImages(read_particles(tmp_path / "p.star"), tmp_path)

    return make


def disc() -> np.ndarray:
    axis = np.arange(BOX) - BOX // 2
    return 1.0 * (np.hypot(axis[:, None], axis) < 8)


def scales_of(images: ParticleImages) -> list[HalfScale]:
    return [half_scale(images.table, half, images._normed) for half in (1, 2)]


def signal(images: ParticleImages) -> Tensor:
    """(n,) strength of the disc in each image."""
    pattern = torch.from_numpy(disc() - disc().mean()).float()
    return (images.read(range(COUNT)) * pattern).sum((1, 2)) / pattern.square().sum()


def alternating(first: float, second: float) -> np.ndarray:
    """(n,) values that change within each half set and optics group."""
    return np.where(np.arange(COUNT) // 2 % 2, second, first)


def test_the_level_is_the_deviation_of_the_noise_whatever_the_middle_holds() -> None:
    noise = torch.randn(500, 48, 48, generator=torch.Generator().manual_seed(0)) * 3 + 7
    noise[:, 12:36, 12:36] += 100
    assert float(noise_levels(noise).mean()) == pytest.approx(3, rel=0.01)
    assert float(noise_levels(noise).std()) < 0.15
    noise[:, :8, :8] += 50 * torch.rand(500, 8, 8)  # a neighbour in one corner
    assert float(noise_levels(noise).mean()) == pytest.approx(3, rel=0.06)


@pytest.mark.parametrize("box", [31, 32, 64])
def test_images_of_one_scale_are_left_as_they_are(make_set: Callable[..., ParticleImages], box: int) -> None:
    images = make_set()
    assert not any(scale.is_odd for scale in scales_of(images))
    assert images.sentences() == []
    stored = images._normed(np.arange(COUNT))
    assert torch.equal(images.read(range(COUNT)), stored)


SCALES = {
    "half of each group": alternating(1, 5),
    "one group of two": np.repeat([1.0, 5.0], COUNT // 2),
    "all": np.exp(np.random.default_rng(3).uniform(np.log(0.3), np.log(3), COUNT)),
    "one in twenty": np.where(np.arange(COUNT) // 2 % 20, 1.0, 0.2),
    "half sets": np.tile([1.0, 5.0], COUNT // 2),
}


@pytest.mark.parametrize("kind", SCALES)
def test_images_of_different_scales_come_out_alike(make_set: Callable[..., ParticleImages], kind: str) -> None:
    found, expected = signal(make_set(SCALES[kind])), signal(make_set())
    for half in (slice(0, None, 2), slice(1, None, 2)):  # each has a scale of its own
        relative = found[half] / found[half].mean(), expected[half] / expected[half].mean()
        assert float((relative[0] - relative[1]).square().mean().sqrt()) < 0.1
    odd = [sentence for sentence in make_set(SCALES[kind]).sentences() if "different grey scales" in sentence]
    assert len(odd) == (0 if kind == "half sets" else 2)


def test_norm_corrections_are_divided_out_as_in_relion(make_set: Callable[..., ParticleImages]) -> None:
    norms = SCALES["all"]
    plain = make_set()._normed(np.arange(COUNT))
    images = make_set(norms, rlnNormCorrection=[f"{norm:.9f}" for norm in norms])
    mean = torch.tensor([norms[half::2].mean() for half in (0, 1)]).repeat(COUNT // 2)
    torch.testing.assert_close(images.read(range(COUNT)), plain * mean[:, None, None].float(), rtol=1e-5, atol=1e-5)
    (sentence,) = images.sentences()
    assert sentence.startswith("Grey scale: images are multiplied by 0.39 to 3.9, as their rlnNorm")


def test_a_half_set_alone_has_the_factors_that_it_has_beside_the_other(make_set: Callable[..., ParticleImages]) -> None:
    table = make_set(rlnNormCorrection=[f"{norm:.9f}" for norm in SCALES["all"]]).table
    (rows,) = np.nonzero(table.half == 1)
    np.testing.assert_array_equal(norm_factors(table.select(rows)), norm_factors(table)[rows])


def test_norm_corrections_that_say_nothing_change_nothing(make_set: Callable[..., ParticleImages]) -> None:
    images = make_set(rlnNormCorrection=["0.731"] * COUNT)
    assert norm_factors(images.table) is None
    assert torch.equal(images.read(range(COUNT)), images._normed(np.arange(COUNT)))


def test_norm_corrections_that_say_too_much_are_mended_by_the_noise(make_set: Callable[..., ParticleImages]) -> None:
    images = make_set(rlnNormCorrection=[f"{norm:.9f}" for norm in SCALES["all"]])  # of images that are of one scale already
    levels = noise_levels(images.read(range(0, COUNT, 2)))
    assert float(levels.std() / levels.mean()) < 0.1


@pytest.mark.parametrize("norm", ["0", "-1"])
def test_a_norm_correction_that_is_none_is_refused(make_set: Callable[..., ParticleImages], norm: str) -> None:
    with pytest.raises(UserError, match=rf"_rlnNormCorrection of data_particles is {norm} in row 3 .*expected a factor above 0"):
        make_set(rlnNormCorrection=["1", "1", norm] + ["1"] * (COUNT - 3))


@pytest.mark.parametrize("noise", [alternating(1, 5), np.repeat([1.0, 5.0], COUNT // 2), alternating(3, 0.5)])
def test_noise_alone_that_differs_is_left_to_the_model(make_set: Callable[..., ParticleImages], noise: np.ndarray) -> None:
    images = make_set(noise=noise)
    assert not any(scale.is_odd for scale in scales_of(images))


def test_images_without_noise_are_left_as_they_are(make_set: Callable[..., ParticleImages]) -> None:
    images = make_set(SCALES["all"], noise=0.01)
    assert not any(scale.is_odd for scale in scales_of(images))


def test_half_sets_do_not_touch(make_set: Callable[..., ParticleImages]) -> None:
    scale = np.ones(COUNT)
    scale[::4] = 5  # half 1 alone
    images = make_set(scale)
    first, second = images.read(range(0, COUNT, 2)), images.read(range(1, COUNT, 2))
    assert [scale.is_odd for scale in images._scales.values()] == [True, False]
    assert torch.equal(second, make_set().read(range(1, COUNT, 2)))
    assert float(noise_levels(first).std() / noise_levels(first).mean()) < 0.01


def test_noise_is_compared_by_its_spectral_density(make_set: Callable[..., ParticleImages]) -> None:
    # the same exposure binned: the signal of a pixel is twice that of its noise
    images = make_set(strength=np.repeat([1.0, 2.0], COUNT // 2), pixel_sizes=(3.0, 6.0))
    table: ParticleTable = images.table
    (scale, _) = scales_of(images)
    assert scale.is_odd
    assert scale.lowest == pytest.approx(3, rel=0.1)
    assert scale.highest == pytest.approx(6, rel=0.1)
    of_groups = [noise_levels(images._of_one_scale(np.flatnonzero(table.optics_group == group))).mean() for group in (0, 1)]
    assert float(of_groups[0] / of_groups[1]) == pytest.approx(2, rel=0.05)
