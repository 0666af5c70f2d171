"""The latents that images tell of, and how far out a particle may be found."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

# Of the guesses on either side of a latent, that lie farther out than a particle may be found.
BEYOND = 0.01


@dataclass(frozen=True)
class ToldLatents:
    """Latents that are worked out; the others stay at their prior.

    The decoder has learned nothing of what lies beyond the particles that it was trained on, and what it makes up there fits the
    odd image well. So no particle is found there.

    Attributes
    ----------
    places : (r,)
        Of these latents among all d.
    low, high : (r,)
        Least and largest value that is looked at.
    """

    places: Tensor
    low: Tensor
    high: Tensor

    @classmethod
    def everything(cls, n_latent: int, device: torch.device) -> ToldLatents:
        """All latents, however far out."""
        far = torch.full((n_latent,), torch.inf, device=device)
        return cls(torch.arange(n_latent, device=device), -far, far)

    @classmethod
    def among(cls, guesses: Tensor, information: Tensor, least: float) -> ToldLatents:
        """Those of latents (p, d) guessed of many particles of which images tell at least so much, (d,), or else the most."""
        places = torch.nonzero(information >= min(least, float(information.max()))).squeeze(1)
        low, high = guesses[:, places].quantile(guesses.new_tensor((BEYOND, 1 - BEYOND)), dim=0)
        return cls(places, low, high)

    def __len__(self) -> int:
        """How many, r."""
        return len(self.places)

    def to(self, device: torch.device) -> ToldLatents:
        """The same, elsewhere."""
        return ToldLatents(self.places.to(device), self.low.to(device), self.high.to(device))

    def within(self, unknown: Tensor) -> Tensor:
        """Unknowns (..., m), of which these latents are the first, none of them farther out."""
        r = len(self)
        told = torch.minimum(torch.maximum(unknown[..., :r], self.low), self.high)
        return torch.cat((told, unknown[..., r:]), dim=-1)

    def put_into(self, told: Tensor, others: Tensor) -> Tensor:
        """Values (b, r) of these latents among those (b, d) of all."""
        return others.index_copy(1, self.places, told)
