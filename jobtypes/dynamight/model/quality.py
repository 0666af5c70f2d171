"""How much of each image is the molecule at its pose: a quality, and a scale.

Data sets hold images of other things (nothing, another molecule, ice) and of molecules whose pose is wrong. They are the loudest
of all where a model of the molecule is fitted. So each particle is judged by two descriptions of its image, o = x p + e + n:

- the molecule at its pose: the scale x of the prediction p lies near 1, and what the model leaves undescribed, e, is as little
  as it is for most particles;
- something else: x scatters widely about 0, and e has any power.

n is the noise, of known power; e is random, with the spectrum of a typical prediction times a factor k, which takes one of the
values of a grid. The integral over x has a closed form. How scales and factors of the molecule's images scatter, and what share
of all images these are, is learned from all of a half set's particles (empirical Bayes): the quality is then the probability
that the image is the molecule at its pose, and the scale the mean of x if it is.

Source: Fraley and Raftery 2002 for the second component that takes what fits nowhere; Dempster, Laird and Rubin 1977 (EM).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

# k, the undescribed power over that of a typical prediction: none, and a hundredth to thirty times in steps of about 1.6.
FACTORS = (0.0, *(10 ** (-2 + 3.5 * step / 15) for step in range(16)))
# The widest and narrowest scatter of the molecule's images: of scales, and of log factors.
NARROWEST_SCALE, NARROWEST_FACTOR = 0.03, 0.3
# Scatter of x where the image is something else: chance agreement of two molecules of the same size.
OTHER_SCALE = 0.7
LARGEST_SHARE, SMALLEST_SHARE = 0.999, 0.05
SMALLEST_SCALE = 0.1
GROUP_SPREAD = 0.5  # of the scales of optics groups, before their images are looked at
LEAST_QUALITY = 0.5  # of particles that are rather the molecule than not


def rather_good(quality: Tensor) -> Tensor:
    """(n,) bool, of qualities (n,): rather the molecule than not; all of them where none is."""
    good = quality > LEAST_QUALITY
    return good if bool(good.any()) else torch.ones_like(good)


@dataclass(frozen=True)
class ShellSums:
    """How images and their predictions agree, in noise units, summed over the terms of each shell.

    Attributes
    ----------
    agreement : (b, s)
        Sum of w Re(conj(p) o) for weights w over the noise power.
    predicted, observed : (b, s)
        Sums of w |p|^2 and w |o|^2.
    terms : (s,)
        Independent terms of a shell.
    seen : (b,)
        Share of these that the particle has.
    """

    agreement: Tensor
    predicted: Tensor
    observed: Tensor
    terms: Tensor
    seen: Tensor

    @staticmethod
    def of(
        observed: Tensor,
        predicted: Tensor,
        weights: Tensor,
        shells: Tensor,
        independent: Tensor,
        n_shells: int,
        seen: Tensor | None = None,
    ) -> ShellSums:
        """Sum up a batch.

        Parameters
        ----------
        observed, predicted : (b, q) complex
            Fourier terms.
        weights : (b, q)
            Inverse noise power times the independent terms that each counts for.
        shells : (q,)
            Shell of each term.
        independent : (q,)
            Independent terms that each counts for.
        n_shells
            Shells s of the whole band.
        seen : (b,)
            Share of the terms that each particle has; None: all have all.
        """

        def in_shells(values: Tensor) -> Tensor:
            return values.new_zeros(n_shells, len(values)).index_add_(0, shells, values.T).T

        return ShellSums(
            agreement=in_shells(weights * (observed.real * predicted.real + observed.imag * predicted.imag)),
            predicted=in_shells(weights * (predicted.real.square() + predicted.imag.square())),
            observed=in_shells(weights * (observed.real.square() + observed.imag.square())),
            terms=independent.new_zeros(n_shells).index_add_(0, shells, independent),
            seen=torch.ones_like(weights[:, 0]) if seen is None else seen,
        )


class GroupScales:
    """How strong the signal of each optics group is, over what is predicted of it.

    Parameters
    ----------
    n_groups
        Of the whole data set.
    device
        Where sums are kept.
    """

    def __init__(self, n_groups: int, device: torch.device) -> None:
        self._agreement = torch.zeros(n_groups, dtype=torch.float64, device=device)
        self._predicted, self._count = torch.zeros_like(self._agreement), torch.zeros_like(self._agreement)

    def add(self, group: Tensor, sums: ShellSums, shares: Tensor) -> None:
        """Count particles (b,) of optics groups (b,), each by its share (b,)."""
        for total, values in ((self._agreement, sums.agreement.sum(1)), (self._predicted, sums.predicted.sum(1))):
            total.index_add_(0, group, (shares * values).double())
        self._count.index_add_(0, group, shares.double())

    def sums(self) -> tuple[Tensor, Tensor, Tensor]:
        """What has been counted: sums (groups,) themselves, not copies."""
        return self._agreement, self._predicted, self._count

    def relative(self) -> Tensor:
        """(groups,) best scale of each group's predictions, under a prior around the mean of the particles; mean 1 over them."""
        one = float(self._agreement.sum().clamp(min=0) / self._predicted.sum().clamp(min=1e-30))
        if one == 0:
            return torch.ones_like(self._count)
        precision = 2 * self._predicted * one**2  # of a group's scale over the mean
        found = (2 * self._agreement * one + GROUP_SPREAD**-2) / (precision + GROUP_SPREAD**-2)
        found = found.clamp(min=SMALLEST_SCALE)
        return found / ((found * self._count).sum() / self._count.sum().clamp(min=1e-30)).clamp(min=SMALLEST_SCALE)


@dataclass
class QualitySums:
    """What the judgements of many particles say about all of them.

    Attributes
    ----------
    moments : (6,)
        Sums over particles: one; quality; and quality times the mean of x, of x^2, of log k and of its square.
    power : (s,)
        Sum of the predictions' power in noise units, each times the particle's quality.
    """

    moments: Tensor
    power: Tensor

    @classmethod
    def none(cls, n_shells: int, device: torch.device) -> QualitySums:
        """Of no particle."""
        return cls(torch.zeros(6, dtype=torch.float64, device=device), torch.zeros(n_shells, dtype=torch.float64, device=device))

    def add(self, moments: Tensor, power: Tensor) -> None:
        """Count some more particles."""
        self.moments += moments
        self.power += power

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint keeps: the sums themselves."""
        return {"quality_moments": self.moments, "quality_power": self.power}

    @classmethod
    def from_state(cls, state: dict[str, Any], device: torch.device) -> QualitySums:
        """The sums of a checkpoint."""
        return cls(state["quality_moments"].clone().to(device), state["quality_power"].clone().to(device))


class ParticleQuality(nn.Module):
    """Quality and scale of the particles of a half set.

    Parameters
    ----------
    n_particles
        Of the half set.
    n_shells
        Of the band.

    Attributes
    ----------
    probability : (n_particles,)
        That the image is the molecule at its pose.
    scale : (n_particles,)
        Of the prediction, if it is; 1 on average.
    group_scale : (n_particles,)
        That of the particle's optics group, about which scales scatter; 1 where all are alike.
    share : ()
        Of the half set's images that are.
    mean_scale, scale_spread, mean_log_factor, log_factor_spread : ()
        How x and log k of those scatter.
    typical : (n_shells,)
        Power of a prediction per independent term, in noise units.
    """

    probability: Tensor
    scale: Tensor
    group_scale: Tensor
    share: Tensor
    mean_scale: Tensor
    scale_spread: Tensor
    mean_log_factor: Tensor
    log_factor_spread: Tensor
    typical: Tensor
    factors: Tensor
    log_factors: Tensor

    def __init__(self, n_particles: int, n_shells: int) -> None:
        super().__init__()
        self.register_buffer("probability", torch.ones(n_particles))
        self.register_buffer("scale", torch.ones(n_particles))
        self.register_buffer("group_scale", torch.ones(n_particles))
        first = {
            "share": 0.9,
            "mean_scale": 1.0,
            "scale_spread": 0.15,
            "mean_log_factor": math.log(0.02),
            "log_factor_spread": 0.7,
        }
        for name, value in first.items():
            self.register_buffer(name, torch.tensor(value))
        self.register_buffer("typical", torch.zeros(n_shells))
        factors = torch.tensor(FACTORS)
        # "none" stands where the grid would go on
        self.register_buffer("factors", factors, persistent=False)
        step = float(factors[2] / factors[1])
        self.register_buffer("log_factors", torch.cat((factors[1:2] / step, factors[1:])).log(), persistent=False)

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *rest: Any) -> None:
        # checkpoints of before scales of optics groups have none
        state.setdefault(f"{prefix}group_scale", torch.ones_like(self.group_scale))
        super()._load_from_state_dict(state, prefix, *rest)

    @property
    def is_ready(self) -> bool:
        """Whether anything has been learned of all particles yet."""
        return bool((self.typical > 0).any())

    @property
    def is_good(self) -> Tensor:
        """(n_particles,) bool: rather the molecule than not; all of them where none is."""
        return rather_good(self.probability)

    def good(self, index: Tensor) -> Tensor:
        """Those of some particles (b,), an index on the CPU, that are rather the molecule than not; all where none is."""
        chosen = index[self.is_good.cpu()[index]]
        return chosen if len(chosen) else index

    @torch.no_grad()
    def judge(self, index: Tensor, sums: ShellSums) -> tuple[Tensor, Tensor]:
        """Work out quality and scale of the particles at `index` (b,), whose predictions have the scale of their optics group.

        Returns what to `QualitySums.add`.
        """
        known = (self.typical > 0).to(sums.terms)  # shells new to the band say nothing yet
        variance = 1 + self.factors[:, None] * self.typical  # (k, s) of a term that is not predicted, in noise units
        a, b, c = (part @ (known / variance).T for part in (sums.agreement, sums.predicted, sums.observed))  # (b, k)
        unpredicted = -c - sums.seen[:, None] * (variance.log() @ sums.terms)
        evidence, x, x_variance = _over_scales(a, b, unpredicted, self.mean_scale, self.scale_spread)
        away = (self.log_factors - self.mean_log_factor) / self.log_factor_spread
        evidence = evidence + (-0.5 * away.square()).log_softmax(0)
        zero, spread = torch.zeros_like(self.mean_scale), OTHER_SCALE * self.mean_scale
        other = _over_scales(a, b, unpredicted, zero, spread)[0] - math.log(len(FACTORS))
        probability = (evidence.logsumexp(1) - other.logsumexp(1) + torch.logit(self.share)).sigmoid()
        weights = evidence.softmax(1)
        mean_x = (weights * x).sum(1)
        self.probability[index] = probability
        self.scale[index] = self.group_scale[index] * (mean_x / self.mean_scale).clamp(min=SMALLEST_SCALE)
        squares = (weights * (x.square() + x_variance)).sum(1)
        of_factors = weights @ torch.stack((self.log_factors, self.log_factors.square()), dim=1)  # (b, 2)
        each = torch.stack((torch.ones_like(mean_x), mean_x, squares, *of_factors.T))
        moments = torch.cat((each[:1].sum(1), (each * probability).sum(1)))
        return moments.double(), (probability[:, None] * sums.predicted).sum(0).double()

    @torch.no_grad()
    def learn(self, sums: QualitySums, terms: Tensor) -> None:
        """Take what the judgements of the particles say about all of them; shells without terms (s,) learn nothing.

        Where not even one image seems to be the molecule, nothing but its share, the smallest, is learned.
        """
        count, good, x, x_squared, log_factor, log_factor_squared = sums.moments.tolist()
        if good < 1:
            self.share.fill_(SMALLEST_SHARE)
            return
        mean, mean_log = max(SMALLEST_SCALE, x / good), log_factor / good
        self.share.fill_(min(LARGEST_SHARE, max(SMALLEST_SHARE, good / count)))
        self.mean_scale.fill_(mean)
        self.scale_spread.fill_(max(NARROWEST_SCALE, max(0.0, x_squared / good - mean**2) ** 0.5))
        self.mean_log_factor.fill_(mean_log)
        self.log_factor_spread.fill_(max(NARROWEST_FACTOR, max(0.0, log_factor_squared / good - mean_log**2) ** 0.5))
        self.typical.copy_(torch.where(terms > 0, sums.power / good / terms.clamp(min=1e-6), self.typical.double()))

    @torch.no_grad()
    def follow_noise(self, before: Tensor, after: Tensor) -> None:
        """Express powers in units of another noise, (groups, s) both."""
        self.typical *= (before / after).mean(0)

    @torch.no_grad()
    def make_mean_scale_one(self) -> None:
        """Change the unit, so that the mean scale is 1, for amplitudes that are multiplied by what it was."""
        self.typical *= self.mean_scale.square()
        self.scale_spread /= self.mean_scale
        self.mean_scale.fill_(1.0)


def _over_scales(
    agreement: Tensor, predicted: Tensor, unpredicted: Tensor, mean: Tensor, spread: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Log evidence (b, k) with the scale x ~ N(mean, spread^2) integrated out, and mean and variance of x given the image.

    The log likelihood is `unpredicted` + 2 x `agreement` - x^2 `predicted`, each (b, k).
    """
    precision = 2 * predicted + spread**-2
    x = (2 * agreement + mean * spread**-2) / precision
    evidence = unpredicted + 0.5 * (precision * x.square() - (mean / spread).square() - (precision * spread.square()).log())
    return evidence, x, 1 / precision
