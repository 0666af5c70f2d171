"""One conformation as the consensus of both half sets: maps of two could not be compared.

The first half set has that of its central particle, the other the state of the one of its own particles whose density is most
like it, at a resolution at which domains show. It is a choice of frame, as that of one orientation for both half maps is: which
particle, and no more, and no image is looked at.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from jobtypes.dynamight.model.density import DensityRenderer
from jobtypes.dynamight.model.half_model import HalfModel
from jobtypes.dynamight.model.inference import representatives
from jobtypes.dynamight.model.principal_motions import central

# Standard deviation of the Gaussians that are compared, and pixels that hold them.
WIDTH_ANGSTROMS, PIXEL_ANGSTROMS = 6.0, 6.0
# States that stand for all, and particles around the best of them.
MOST_STATES, MOST_PARTICLES = 48, 96


@torch.no_grad()
def choose_consensus(models: dict[int, HalfModel], latents: dict[int, Tensor], length_angstroms: float) -> None:
    """Make one state the consensus of the models of all half sets.

    Parameters
    ----------
    models, latents
        By half set: model, and latents (p, d) of the particles whose state may be chosen.
    length_angstroms
        Of the box.
    """
    first, *others = models
    model = models[first]
    coefficients = model.field.coefficients(latents[first])
    model.set_reference(coefficients[central(coefficients, model.metric())])
    wanted = _Density(model, length_angstroms).at_rest()
    for half in others:
        found = _most_alike(_Density(models[half], length_angstroms), latents[half], wanted)
        models[half].set_reference(models[half].field.coefficients(found[None])[0])


class _Density:
    """Coarse maps of a model's states, of unit norm."""

    def __init__(self, model: HalfModel, length_angstroms: float) -> None:
        box = max(4, 2 * math.ceil(length_angstroms / PIXEL_ANGSTROMS / 2))
        self._model = model
        self._renderer = DensityRenderer(
            model.gaussians, box, length_angstroms / box, least_width_angstroms=WIDTH_ANGSTROMS, oversampling=1
        )

    def at_rest(self) -> Tensor:
        return self._of(self._model.gaussians.positions)

    def likeness(self, latents: Tensor, wanted: Tensor) -> Tensor:
        """(k,) correlation of the states of latents (k, d) with a map (N, N, N) of unit norm."""
        states = self._model.gaussians.positions + self._model.displacement(latents)
        return torch.stack([(self._of(positions) * wanted).sum() for positions in states])

    def _of(self, positions: Tensor) -> Tensor:
        density: Tensor = self._renderer(positions)
        unit: Tensor = density / density.norm()
        return unit


def _most_alike(density: _Density, latents: Tensor, wanted: Tensor) -> Tensor:
    """The one (d,) of the latents (p, d) whose state is most like a map: around the best of the states that stand for all."""
    states = representatives(latents, MOST_STATES).latents
    best = states[density.likeness(states, wanted).argmax()]
    near = latents[(latents - best).norm(dim=1).argsort()[:MOST_PARTICLES]]
    return near[density.likeness(near, wanted).argmax()]
