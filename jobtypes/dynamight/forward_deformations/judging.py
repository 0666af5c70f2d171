"""The first look at a half set's particles: which are the molecule at their pose, how loud the noise is, how strong the signal.

These hang together: images of something else make the noise look louder than it is and the signal weaker. So they are worked out
in turn, on a sample of the particles that train, until the share of the molecule's images settles; then all particles are judged,
which may be left anywhere.
Afterwards every step of the training judges its particles anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from jobtypes.common.grey_scale import ODD_FACTOR
from jobtypes.dynamight.forward_deformations.noise import ShellPower, image_power, sample_of_groups
from jobtypes.dynamight.model.half_model import HalfModel
from jobtypes.dynamight.model.observations import Band, Observations, ObservedBatch
from jobtypes.dynamight.model.projection import Projector
from jobtypes.dynamight.model.quality import GroupScales, ParticleQuality, QualitySums, ShellSums

SAMPLE, BATCH = 2000, 64  # particles
SETTLED, MOST_ROUNDS = 0.002, 20  # change of the share, and of the logarithm of the amplitudes


def shell_sums(
    model: HalfModel, band: Band, batch: ObservedBatch, projected: Tensor, *, n_terms: int, independent_fraction: float
) -> ShellSums:
    """How a batch of images agrees with its projections (b, q) without CTF; see `losses.data_misfit` for the fraction."""
    independent = independent_fraction * band.weights[:n_terms]
    weights = independent * model.precision(band, n_terms)[batch.group]
    predicted = model.quality.group_scale[batch.index][:, None] * batch.ctf[:, :n_terms] * projected
    n_shells = len(model.quality.typical)
    return ShellSums.of(batch.spectra, predicted, weights, band.shells[:n_terms], independent, n_shells, batch.seen)


class FirstJudgement:
    """The first look at the particles of a half set.

    Parameters
    ----------
    model
        Its noise, the scale of its amplitudes and its qualities are set.
    observations, projector
        The half set's images, of which each process looks at its own, and the renderer.
    n_terms
        Leading Fourier terms to use.
    independent_fraction
        See `losses.data_misfit`.
    latents : (n_h, d)
        States of the particles; None: all are at rest.
    """

    def __init__(
        self,
        model: HalfModel,
        observations: Observations,
        projector: Projector,
        *,
        n_terms: int,
        independent_fraction: float,
        latents: Tensor | None,
    ) -> None:
        self._model, self._observations, self._projector = model, observations, projector
        self._n_terms, self._fraction, self._latents = n_terms, independent_fraction, latents
        self._share = observations.share

    @torch.no_grad()
    def settle(self, training: Tensor) -> None:
        """Find from particles that train, by their index (p,), how loud noise and signal are, and how qualities scatter."""
        quality, sample = self._model.quality, sample_of_groups(self._observations, training, SAMPLE)
        self._set_group_scales(sample)
        self._set_typical(sample)
        for _ in range(MOST_ROUNDS):
            before = quality.share.clone(), self._model.gaussians.log_scale.clone()
            self._round(sample)
            moved = quality.share - before[0], self._model.gaussians.log_scale - before[1]
            if float(torch.stack(moved).abs().max()) < SETTLED:
                break
        self._set_fine_noise(sample)

    @torch.no_grad()
    def judge(self, index: Tensor) -> None:
        """Judge the own ones of particles (b,) of the half set, whether they train or not."""
        for batch, projected in self._looked_at(index):
            self._model.quality.judge(batch.index, self._sums(batch, projected))

    def _looked_at(self, index: Tensor) -> Iterator[tuple[ObservedBatch, Tensor]]:
        """Batches of own particles and their projections (b, q)."""
        model = self._model
        for part in self._share.batches(index, BATCH):
            batch = self._observations.batch(part, self._n_terms)
            latents = None if self._latents is None else self._latents[batch.index].to(batch.ctf)
            points = model.at_rest(len(part)) if latents is None else model.deformed(latents)
            parts = model.project_batch(points, batch, self._projector, self._n_terms)
            yield batch, model.parts.assembled(parts, batch.index)

    def _sums(self, batch: ObservedBatch, projected: Tensor) -> ShellSums:
        return shell_sums(
            self._model,
            self._observations.band,
            batch,
            projected,
            n_terms=self._n_terms,
            independent_fraction=self._fraction,
        )

    def _independent_terms(self) -> Tensor:
        """(s,) independent terms of a shell among those that are looked at."""
        band, typical = self._observations.band, self._model.quality.typical
        independent = self._fraction * band.weights[: self._n_terms]
        return torch.zeros_like(typical).index_add_(0, band.shells[: self._n_terms], independent)

    def _set_group_scales(self, sample: Tensor) -> None:
        """How strong the signal of each optics group is, before anything is known of qualities."""
        scales = GroupScales(len(self._model.noise_power), self._observations.device)
        for batch, projected in self._looked_at(sample):
            scales.add(batch.group, self._sums(batch, projected), torch.ones_like(batch.ctf[:, 0]))
        self._share.crew.sum_(*scales.sums())
        self._follow(scales)

    def _follow(self, scales: GroupScales) -> None:
        """Change the scales of optics groups, where there are several, by what was found of their predictions."""
        group = self._observations.group
        if len(group.unique()) > 1:
            quality = self._model.quality
            quality.group_scale.mul_(scales.relative()[group.to(self._observations.device)].to(quality.group_scale))

    def _set_typical(self, sample: Tensor) -> None:
        """The power of a typical prediction, before anything is known of qualities."""
        typical = self._model.quality.typical
        total, terms = torch.zeros_like(typical), torch.zeros_like(typical)
        for batch, projected in self._looked_at(sample):
            sums = self._sums(batch, projected)
            total += sums.predicted.sum(0)
            terms += sums.terms * batch.seen.sum()
        self._share.crew.sum_(total, terms)
        typical.copy_(total / terms.clamp(min=1e-6))

    def _set_fine_noise(self, sample: Tensor) -> None:
        """Take images of something else out of the noise of shells beyond those that are looked at."""
        noise, shells = self._model.noise_power, self._observations.band.shells
        found = image_power(self._observations, len(noise), sample, shares=self._model.quality.probability)
        beyond = int(shells[self._n_terms - 1]) + 1
        noise[:, beyond:] = found[:, beyond:]

    def _round(self, sample: Tensor) -> None:
        """Judge the sample; then learn the scatter of qualities, the noise, and the scale of the amplitudes."""
        model, quality = self._model, self._model.quality
        judged = QualitySums.none(len(quality.typical), self._observations.device)
        power = ShellPower(len(model.noise_power), self._observations.band)
        scales = GroupScales(len(model.noise_power), self._observations.device)
        for batch, projected in self._looked_at(sample):
            sums = self._sums(batch, projected)
            judged.add(*quality.judge(batch.index, sums))
            scales.add(batch.group, sums, quality.probability[batch.index])
            residual = batch.spectra - model.transfer(batch, self._n_terms) * projected
            power.add(residual, batch.group, quality.probability[batch.index], batch.seen)
        self._share.crew.sum_(*judged.state().values(), *power.state().values(), *scales.sums())
        quality.learn(judged, self._independent_terms())
        before = model.noise_power.clone()
        model.noise_power.copy_(power.update(model.noise_power))
        quality.follow_noise(before, model.noise_power)
        model.gaussians.log_scale.add_(quality.mean_scale.log())
        quality.make_mean_scale_one()
        self._follow(scales)


def group_scales_in_words(quality: ParticleQuality, group: Tensor, names: Sequence[str]) -> str:
    """Optics groups whose signal is much stronger or weaker than that of the others, in a sentence; empty where there is none.

    Parameters
    ----------
    quality
        Of n particles.
    group : (n,)
        Optics group of each.
    names
        Of the optics groups.
    """
    present = {
        names[number]: float(quality.group_scale[group.to(quality.scale.device) == number][0]) for number in group.unique()
    }
    odd = [f"{scale:.2f} in {name}" for name, scale in present.items() if not 1 / ODD_FACTOR <= scale <= ODD_FACTOR]
    return (
        f" The signal beside that of a mean particle: {', '.join(odd)} (optics groups), which is taken into account."
        if odd
        else ""
    )
