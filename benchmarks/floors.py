"""Least seconds of each part of a training step, counted from its operations and bytes.

A part takes at least as long as its arithmetic at the speed of a large matrix product, or as its reads and writes at the speed
of a copy, whichever is longer. Sines, exponentials and the latency of single calls count nothing, so no program reaches it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from torch import nn

from jobtypes.dynamight.model.control_points import NEAREST
from jobtypes.dynamight.model.half_model import HalfModel
from jobtypes.dynamight.model.projection import Projector

FLOAT, COMPLEX = 4, 8


def step_floor(
    model: HalfModel, projector: Projector, *, batch: int, n_terms: int, speed: tuple[float, float]
) -> dict[str, float]:
    """Seconds of each part of a step.

    Parameters
    ----------
    model, projector
        Of one half set.
    batch
        b, particles per step.
    n_terms
        q, Fourier terms used.
    speed
        Operations and bytes per second, of `measuring.machine_speed`.
    """
    n, k = len(model.gaussians.positions), model.field.n_fields
    near = sum(min(NEAREST, len(level.points)) for level in model.field.trunk.levels)  # control points around a Gaussian
    highest = int(projector.band.harmonics[:n_terms].abs().max())
    grid = projector.grid(n_terms).size
    encoded = 2 * highest + 2  # pixels of the encoder's images
    probes = len(model.encoder.probes)

    # rotate n points, add to four pixels each (read and write)
    projection = (batch * (12 * n + 8 * n), batch * (n * (3 + 2 + 8) * FLOAT + grid**2 * FLOAT))
    # read the image, transform, take q terms
    transform = (batch * _transform(grid), batch * (grid**2 * FLOAT + 2 * n_terms * COMPLEX))
    reading = (
        batch * (_transform(encoded) + 12 * probes) + 2 * batch * dense_weights(model.encoder),
        batch * (4 * n_terms * COMPLEX + 2 * encoded**2 * FLOAT + 5 * probes * FLOAT),
    )
    field = (
        2 * n * 3 * k * near + 2 * batch * dense_weights(model.field.branch) + 6 * batch * k * n,
        (3 * k * n + 3 * batch * n + 2 * near * n) * FLOAT,
    )
    # observed, predicted and their weights; two Gaussians of each of 2 n edges
    loss = (batch * (12 * n_terms + 24 * n), batch * (n_terms * (2 * COMPLEX + FLOAT) + 2 * n * 3 * FLOAT))
    trained = sum(parameter.numel() for parameter in model.parameters())
    forward = [(2 * batch * dense_weights(model.encoder), 0), field, loss]  # projection and transform are counted both ways
    backward = (
        2 * sum(operations for operations, _ in forward),
        2 * sum(moved for _, moved in forward) + 7 * trained * FLOAT,  # Adam reads four and writes three numbers for each
    )
    return {
        # spectra copied together, transfer functions written
        "data": _seconds([(0, batch * n_terms * (2 * COMPLEX + FLOAT))], speed),
        "encoder": _seconds([reading], speed),
        "decoder": _seconds([field], speed),
        # of the consensus for the encoder, of the deformed Gaussians, and back
        "projection": _seconds([projection] * 3, speed),
        "FFT": _seconds([transform] * 3, speed),
        "loss and strain": _seconds([loss], speed),
        "backward, optimiser": _seconds([backward], speed),
    }


def _seconds(parts: Iterable[tuple[float, float]], speed: tuple[float, float]) -> float:
    return sum(max(operations / speed[0], moved / speed[1]) for operations, moved in parts)


def _transform(size: int) -> float:
    """Operations of the real Fourier transform of a square image."""
    return 2.5 * size**2 * math.log2(size**2)


def dense_weights(module: nn.Module) -> int:
    """Weights of the dense layers: multiply-adds for one row."""
    return sum(layer.weight.numel() for layer in module.modules() if isinstance(layer, nn.Linear))
