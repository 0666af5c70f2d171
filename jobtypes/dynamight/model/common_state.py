"""One conformation as the consensus of both half sets: maps of two could not be compared.

Each half set has a central particle. Where particles lie around the mean, both of these are in nearly the same state. Those of
a domain that turns all the way round are not, and a model is at its best near its own: so the consensus is the state nearest to
both central ones, of those that both half sets know, and each half set has it from one of its own particles. It is a choice of
frame, as that of one orientation for both half maps is: which particle, and no more, and no image is looked at.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from jobtypes.dynamight.model.density import DensityRenderer
from jobtypes.dynamight.model.half_model import HalfModel
from jobtypes.dynamight.model.principal_motions import central, enough_of, squared_lengths
from jobtypes.dynamight.model.representatives import representatives

# Standard deviation of the Gaussians that are compared, and pixels that hold them.
WIDTH_ANGSTROMS, PIXEL_ANGSTROMS = 6.0, 6.0
# States that stand for all, and particles around the best of them.
MOST_STATES, MOST_PARTICLES = 48, 96


@torch.no_grad()
def choose_consensus(models: dict[int, HalfModel], latents: dict[int, Tensor], length_angstroms: float) -> dict[int, int]:
    """Make one state the consensus of the models of both half sets; returns which latent of each it has that state from.

    Parameters
    ----------
    models, latents
        By half set: model, and latents (p, d) of the particles whose state may be chosen.
    length_angstroms
        Of the box.
    """
    some = {half: enough_of(len(latent)).to(latent.device) for half, latent in latents.items()}
    first, second = (_States(models[half], latents[half][some[half]], length_angstroms) for half in models)
    likeness = first.maps.flatten(1) @ second.maps.flatten(1).T
    best, match = likeness.max(dim=1)
    farthest = torch.maximum(first.from_central, second.from_central[match])
    chosen = int(torch.where(best >= best.median(), farthest, torch.inf).argmin())
    of_first = int(first.chosen[chosen])
    first.become(of_first)
    of_second = second.most_alike(second.latents[match[chosen]], first.at_rest())
    second.become(of_second)
    return {half: int(some[half][particle]) for half, particle in zip(models, (of_first, of_second), strict=True)}


class _States:
    """A half set's model in the states that stand for its particles.

    Parameters
    ----------
    model
        Of the half set.
    particles : (p, d)
        Latents of those whose state may be chosen.
    length_angstroms
        Of the box.

    Attributes
    ----------
    chosen : (k,)
        Of the particles, those near the middle of each group of states.
    latents : (k, d)
        Theirs.
    from_central : (k,)
        Squared displacement from the central particle, A^2, mean over the density.
    maps : (k, N, N, N)
        Coarse, of unit norm.
    """

    def __init__(self, model: HalfModel, particles: Tensor, length_angstroms: float) -> None:
        box = max(4, 2 * math.ceil(length_angstroms / PIXEL_ANGSTROMS / 2))
        self._model, self._particles = model, particles
        self._renderer = DensityRenderer(
            model.gaussians, box, length_angstroms / box, least_width_angstroms=WIDTH_ANGSTROMS, oversampling=1
        )
        coefficients, metric = model.field.coefficients(particles), model.metric()
        middle = central(coefficients, metric)
        centres = representatives(particles, MOST_STATES).latents
        self.chosen = torch.cat((torch.cdist(centres, particles).argmin(1), torch.tensor([middle], device=particles.device)))
        self.latents = particles[self.chosen]
        self.from_central = squared_lengths(coefficients[self.chosen] - coefficients[middle], metric)
        self.maps = self._maps(self.latents)

    def become(self, particle: int) -> None:
        """Make the state of a particle the model's consensus."""
        self._model.set_reference(self._model.field.coefficients(self._particles[particle, None])[0])

    def at_rest(self) -> Tensor:
        """(N, N, N) map of the consensus."""
        return self._map(self._model.gaussians.positions)

    def most_alike(self, latent: Tensor, wanted: Tensor) -> int:
        """The particle whose state is most like a map (N, N, N), of those around a latent (d,)."""
        near = (self._particles - latent).norm(dim=1).argsort()[:MOST_PARTICLES]
        return int(near[(self._maps(self._particles[near]) * wanted).sum((1, 2, 3)).argmax()])

    def _maps(self, latents: Tensor) -> Tensor:
        states = self._model.gaussians.positions + self._model.displacement(latents)
        return torch.stack([self._map(positions) for positions in states])

    def _map(self, positions: Tensor) -> Tensor:
        density: Tensor = self._renderer(positions)
        unit: Tensor = density / density.norm()
        return unit
