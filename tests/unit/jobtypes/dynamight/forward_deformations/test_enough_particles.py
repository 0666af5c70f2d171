"""How many particles a motion takes: against what principal components, held-out evidence and displaced projections do."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mrcfile
import numpy as np
import pytest
import torch

from jobtypes.dynamight.forward_deformations.enough_particles import (
    LEARNED,
    SignalOfPart,
    bearing,
    parts_of,
    signal_of_part,
    to_be_sure,
    to_learn,
    voxels_of,
)
from jobtypes.dynamight.forward_deformations.evidence import Evidence
from jobtypes.dynamight.forward_deformations.plan import HELD_OUT_FRACTION, TrainingPlan, make_plan
from jobtypes.dynamight.forward_deformations.preparation import prepare_half
from jobtypes.dynamight.forward_deformations.task import check, run
from jobtypes.dynamight.forward_deformations.training import HalfTraining
from jobtypes.dynamight.model.deformed import undeformed
from jobtypes.dynamight.options import ForwardOptions

JOB = Path("DynaMight/job001")


def found_cosine(particles: int, signal: float, unknowns: int) -> float:
    """Squared cosine of the first principal component of vectors with a pattern of that signal in noise of variance 1; a mean."""
    rng, found = np.random.default_rng(1), []
    for _ in range(8):
        data = rng.standard_normal((particles, unknowns))
        data[:, 0] += math.sqrt(signal) * rng.standard_normal(particles)
        found.append(np.linalg.eigh(data.T @ data)[1][0, -1] ** 2)
    return float(np.mean(found))


@pytest.mark.parametrize(("signal", "unknowns"), [(0.5, 100), (2.0, 200), (10.0, 400)])
def test_a_pattern_is_learned_of_so_many_particles_and_of_many_fewer_not(signal: float, unknowns: int) -> None:
    enough = to_learn(signal, unknowns)
    assert found_cosine(round(enough), signal, unknowns) == pytest.approx(LEARNED, abs=0.04)
    assert found_cosine(round(enough / 8), signal, unknowns) < 0.5


def share_sure(held_out: int, signal: float) -> float:
    """Of 400 draws of so many held-out images with the log evidence of a pattern that an image tells with that signal."""
    generator = torch.Generator().manual_seed(2)
    squares = (1 + signal) * torch.randn(400, held_out, generator=generator, dtype=torch.double).square()
    evidence = 0.5 * (signal / (1 + signal) * squares - math.log1p(signal))
    return sum(Evidence.of(values, torch.arange(held_out)).is_sure for values in evidence) / 400


@pytest.mark.parametrize("signal", [0.5, 2.0, 10.0])
def test_held_out_images_are_sure_of_it_in_half_the_cases_at_that_number(signal: float) -> None:
    held_out = round(to_be_sure(signal) * HELD_OUT_FRACTION / (1 - HELD_OUT_FRACTION))
    told = LEARNED * signal
    assert 0.3 < share_sure(held_out, told) < 0.75
    assert share_sure(4 * held_out, told) > 0.97
    assert share_sure(max(2, held_out // 4), told) < 0.25


def test_an_image_without_signal_tells_nothing() -> None:
    assert to_learn(0.0, 10) == to_be_sure(0.0) == math.inf


def begun(project: Path, values) -> tuple[TrainingPlan, HalfTraining, int]:
    """Plan, half 1 after its first look at the noise, and the Fourier terms of the last epoch."""
    plan = make_plan(ForwardOptions.from_values(values()), project)
    training = prepare_half(1, plan, device=torch.device("cpu"), scratch=None, after_batch=lambda done: None)
    last = plan.epoch(plan.n_epochs - 1)
    training.run_epoch(last, lambda: True)
    return plan, training, training.observations.band.n_terms(last.resolution_angstroms)


def test_the_signal_is_what_displaced_parts_change_in_the_images(project: Path, values) -> None:
    plan, training, n_terms = begun(project, values)
    model, band = training.model, training.observations.band
    batch = training.observations.batch(model.quality.good(training.training), n_terms)
    positions, amplitudes = voxels_of(plan)
    matrices, shifts = model.poses(batch.index, batch.matrices, batch.shifts)
    weights = 2 * training.settings.independent_fraction * band.weights[:n_terms] * model.precision(band, n_terms)[batch.group]
    weights, transfer = weights.detach(), model.transfer(batch, n_terms).detach()

    def image(part: torch.Tensor, displacement: torch.Tensor) -> torch.Tensor:
        points = undeformed(positions[part] + displacement, len(matrices))
        return transfer * training.projector(points, matrices, shifts, amplitudes[part][None], n_terms)[:, 0]

    whole = image(torch.arange(len(positions)), torch.zeros(3))
    scale = (weights * (whole.conj() * batch.spectra).real).sum() / (weights * whole.abs().square()).sum()
    draws = 3.0 / 3**0.5 * torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
    changes = []
    for part in parts_of(positions, amplitudes):
        images = torch.stack([image(part, draw) for draw in draws])
        changes.append((weights * (images - images.mean(0)).abs().square()).sum(2).mean())
    expected = float(scale.square() * torch.stack(changes).mean())
    assert signal_of_part(training, plan, n_terms).of_motion(3.0) == pytest.approx(expected, rel=0.1)


def test_twice_the_noise_is_a_quarter_of_the_signal(project: Path, values) -> None:
    rng, signals = np.random.default_rng(9), []
    for added in (2.0, 12**0.5):  # far above what the motion leaves of the images beside the noise; then twice that
        with mrcfile.open(project / "particles.mrcs", mode="r+") as file:
            file.data[:] += rng.normal(0, added, file.data.shape)
        plan, training, n_terms = begun(project, values)
        signals.append(signal_of_part(training, plan, n_terms).of_motion(3.0))
    assert signals[1] == pytest.approx(signals[0] / 4, rel=0.25)


def ball(radius: float, band_radius: float) -> Any:
    """What is asked of a plan: a smooth ball at (6, -4, 10) A in a box of 48 at 2 A, and how far the training looks."""
    axis = (torch.arange(48) - 24) * 2.0
    squared = (axis[:, None, None] - 10) ** 2 + (axis[:, None] + 4) ** 2 + (axis - 6) ** 2
    density = torch.sigmoid((radius - squared.sqrt()) / 2)
    return SimpleNamespace(
        table=SimpleNamespace(box=48, pixel_size_angstroms=2.0),
        band=SimpleNamespace(radius=torch.tensor([1.0, band_radius])),
        seed=SimpleNamespace(density=density, threshold=0.5),
        consensus=density,
    )


def test_voxels_are_no_finer_than_the_band_asks_for_and_where_the_molecule_is() -> None:
    fine, coarse = (voxels_of(ball(20.0, band_radius)) for band_radius in (23.0, 10.5))
    assert len(coarse[0]) == pytest.approx(len(fine[0]) / 8, rel=0.05)
    for positions, values in (fine, coarse):
        assert torch.allclose(positions.mean(0), torch.tensor([6.0, -4.0, 10.0]), atol=0.3)
        assert float(values.mean()) == pytest.approx(float(fine[1].mean()), rel=0.02)
        assert float((positions - positions.mean(0)).norm(dim=1).max()) == pytest.approx(20, abs=2)


def test_parts_are_compact_and_hold_a_tenth_each() -> None:
    points = torch.rand(4000, 3, generator=torch.Generator().manual_seed(0)) * 100
    parts = parts_of(points, torch.ones(4000))
    assert len(parts) > 2
    for part in parts:
        assert len(part) == pytest.approx(400, abs=1)
        assert float((points[part] - points[part[0]]).norm(dim=1).max()) < 100


def strong(power: float = 10.0) -> SignalOfPart:
    """A part 30 A across of which an image tells that much, at frequencies up to 1/10 A."""
    frequencies = torch.linspace(0.01, 0.1, 50, dtype=torch.double)
    return SignalOfPart(torch.full((50,), power / 50, dtype=torch.double), frequencies.square(), 150, 30.0)


@pytest.mark.parametrize("particles", [500, 5000, 50000])
def test_the_smallest_motion_is_the_one_that_so_many_particles_are_enough_for(particles: int) -> None:
    signal = strong()
    assert signal.particles(signal.smallest_motion(particles)) == pytest.approx(particles, rel=0.02)
    assert f"can be found from {signal.smallest_motion(particles):.1f} A rms on" in signal.sentence(particles, 64)


def test_weaker_images_take_more_particles_and_smaller_motions_too() -> None:
    assert strong(1.0).particles(5.0) > 4 * strong().particles(5.0)
    assert strong(1.0).particles(2.5) > 4 * strong(1.0).particles(5.0)


@pytest.mark.parametrize(("signal", "particles"), [(strong(), 3), (strong(0.01), 3000)])
def test_where_no_motion_as_large_as_the_part_is_found_there_are_too_few(signal: SignalOfPart, particles: int) -> None:
    sentence = signal.sentence(particles, 64)
    assert sentence.startswith(f"Too few particles: {particles} different images train in the smaller half set")
    assert "Deformed maps of this box take about 192 in each half set." in sentence


def test_a_few_particles_are_called_too_few_before_and_in_the_training(new_job, values) -> None:
    (sentence,) = (words for words in check(values(), JOB) if words.startswith("Too few particles"))
    assert "22 different images train in the smaller half set" in sentence
    job = new_job()
    run(values(), job)
    assert sum(words.startswith("Too few particles: 22") for words in job.warnings) == 1


def test_copies_of_an_image_are_one_particle(project: Path, values) -> None:
    plan = make_plan(ForwardOptions.from_values(values()), project)
    one_image = np.where(plan.table.half == 2, -1, plan.table.copy_of)  # all of half 2
    assert " 22 different images train" in bearing(plan, strong())
    assert " 1 different image trains" in bearing(replace(plan, table=replace(plan.table, copy_of=one_image)), strong())
