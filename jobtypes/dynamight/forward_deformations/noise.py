"""Noise spectra of the masked images, from residuals."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from jobtypes.dynamight.model.observations import Band, Observations


class ShellPower:
    """Running mean of squared moduli per optics group and shell: (groups, shells)."""

    def __init__(self, n_groups: int, band: Band) -> None:
        self.n_shells = int(band.shells.max()) + 1
        self.total = torch.zeros(n_groups, self.n_shells, dtype=torch.float64, device=band.shells.device)
        self.count = torch.zeros_like(self.total)
        self.band = band
        self._terms_per_shell: dict[int, Tensor] = {}

    def add(self, terms: Tensor, group: Tensor, shares: Tensor, seen: Tensor | None = None) -> None:
        """Add the terms (b, q) of particles of optics groups (b,), each with its share (b,).

        Of the terms a particle has the part `seen` (b,), the others are zero; None: all.
        """
        power = shares[:, None] * (terms.real.square() + terms.imag.square())
        # whole images are quick to add up; shell by shell only their sum is
        of_groups = power.new_zeros(len(self.total), terms.shape[1]).index_add_(0, group, power)
        self.add_sums(of_groups, group, shares if seen is None else shares * seen)

    def add_sums(self, of_groups: Tensor, group: Tensor, counts: Tensor) -> None:
        """Add particles of optics groups (b,) that count as so many (b,); their power was summed up by group: (groups, q)."""
        n_terms = of_groups.shape[1]
        if n_terms not in self._terms_per_shell:
            self._terms_per_shell[n_terms] = torch.bincount(self.band.shells[:n_terms], minlength=self.n_shells).double()
        self.total.index_add_(1, self.band.shells[:n_terms], of_groups.double())
        self.count.index_add_(0, group, counts.double()[:, None] * self._terms_per_shell[n_terms])

    def update(self, noise_power: Tensor, share: float = 1.0) -> Tensor:
        """Old (groups, shells) noise power moved by `share` towards the mean, where there is as much as one term of an image."""
        mean = (self.total / self.count.clamp(min=1)).to(noise_power)
        seen = self.count >= 1
        return torch.where(seen, (1 - share) * noise_power + share * mean, noise_power)

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint keeps: the sums themselves."""
        return {"power_total": self.total, "power_count": self.count}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint's state."""
        self.total.copy_(state["power_total"])
        self.count.copy_(state["power_count"])


def sample_of_groups(observations: Observations, training: Tensor, count: int, fewest: int = 100) -> Tensor:
    """Indices of the first particles that train of each optics group: about `count` in all, `fewest` of each if it has them.

    Parameters
    ----------
    observations
        Images of a half set.
    training : (p,)
        Indices of the particles that train.
    """
    group = observations.group[training]
    present = group.unique()
    of_each = max(count // len(present), fewest)
    firsts = [torch.nonzero(group == number).squeeze(1)[:of_each] for number in present]
    return training[torch.cat(firsts).sort().values]


def image_power(
    observations: Observations, n_groups: int, training: Tensor, n_images: int = 2000, *, shares: Tensor | None = None
) -> Tensor:
    """(groups, shells) mean power of images: the first guess of the noise, of which the signal is a small part.

    Parameters
    ----------
    observations
        Images of a half set.
    n_groups
        Optics groups of the whole data set; one without an image among those looked at gets the mean of all.
    training : (p,)
        Indices of the particles that train, of which some are looked at.
    n_images
        See `sample_of_groups`.
    shares : (n_h,)
        By which each particle counts; None: all alike.
    """
    shares = torch.ones(len(observations), device=observations.device) if shares is None else shares
    power = ShellPower(n_groups, observations.band)
    for part in observations.share.batches(sample_of_groups(observations, training, n_images), 256):
        group = observations.group[part].to(observations.device)
        seen = observations.seen[part].to(observations.device)
        power.add(observations.terms(part), group, shares[part.to(shares.device)], seen)
    observations.share.crew.sum_(*power.state().values())
    everything = power.total.sum(0) / power.count.sum(0).clamp(min=1)
    # shell 0 is not in the band, and a group may have no image among the first
    everything = torch.where(everything > 0, everything, everything[everything > 0].mean())
    return power.update(everything.float().expand(n_groups, -1))
