"""A few states that stand for those of many particles."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from sklearn.cluster import KMeans
from torch import Tensor

REPRESENTATIVES = 32
# Of the weight of all states, per particle: what may be lost with those that are not tried.
LEFT_OUT = 0.0005


@dataclass(frozen=True)
class Representatives:
    """States that stand for those of many particles.

    Attributes
    ----------
    latents : (k, d)
        Of the states.
    shares : (k,)
        Share of the particles that each stands for.
    doubt
        A state farther from a particle's maximum, in standard deviations of its posterior there, is out of the question.
    """

    latents: Tensor
    shares: Tensor
    doubt: float = math.inf

    def by(self, places: Tensor) -> Representatives:
        """The same by some of the latents, those at places (r,)."""
        return replace(self, latents=self.latents[:, places])

    def tried_on(self, squared_distances: Tensor, weights: Tensor) -> Representatives:
        """The same with the doubt that particles leave on which all states were tried.

        Parameters
        ----------
        squared_distances : (p, k)
            Of each state from the maximum of each particle, in variances of its posterior.
        weights : (p, k)
            Of each state in the posterior of each particle.
        """
        nearest_first = squared_distances.flatten().argsort()
        distances, weights = squared_distances.flatten()[nearest_first].sqrt(), weights.flatten()[nearest_first].double()
        lost = weights.sum() - weights.cumsum(0)  # with all that are farther
        needed = int((lost > LEFT_OUT * len(squared_distances)).sum())
        return replace(self, doubt=float(distances[needed]))


def representatives(latents: Tensor, count: int = REPRESENTATIVES) -> Representatives:
    """At most `count` states that stand for the latents (p, d) of many particles: the centres of their clusters (k-means)."""
    distinct = len(latents.unique(dim=0))
    clusters = KMeans(min(count, distinct), n_init=1, random_state=0).fit(latents.cpu().double().numpy())
    centres = torch.from_numpy(clusters.cluster_centers_).to(latents)
    members = torch.bincount(torch.from_numpy(clusters.labels_).long(), minlength=len(centres)).to(latents)
    return Representatives(centres, members / len(latents))
