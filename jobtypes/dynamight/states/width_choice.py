"""How wide the kernel is: by the half maps of one half set against those of the other.

A wide kernel brings many particles and little noise, but also whatever the model got wrong about those far from the state; a
narrow one the reverse. The map of the narrowest kernel is right but for its noise, and that of the other half set has another
noise. So every width is judged by how well its map of one half, filtered as its FSC allows, predicts the narrowest map of the
other half: bias and noise of the one add to the noise of the other, which is the same for all widths.

Source: the principle is that of cross-validation of kernel regression between half sets, as in Gilles and Singer, "Cryo-EM
heterogeneity analysis using regularized covariance estimation and kernel regression", PNAS 2025; the measure is ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from jobtypes.common.conventions import HALVES
from jobtypes.common.fourier import fsc, half_plane_weights, rfft3, shell_sum, shells_3d
from jobtypes.dynamight.backprojection.normal_equations import noise_to_signal


def prediction_errors(candidates: Sequence[Mapping[int, Tensor]], mask: Tensor) -> list[float]:
    """Mean squared error of predicting the last candidate's maps by those of each, of the other half.

    Parameters
    ----------
    candidates
        Half maps (N, N, N) of each width, by half, the widest first.
    mask : (N, N, N)
        Where they are compared.

    Returns
    -------
    list
        In units of the noise in the last candidate's maps, which differs from shell to shell: 1 is what a perfect map would have.
    """
    box = mask.shape[0]
    shells = shells_3d(box, device=mask.device)
    weights = half_plane_weights(box, 3, device=mask.device)
    spectra = [{half: rfft3(maps[half] * mask) for half in HALVES} for maps in candidates]
    target = spectra[-1]

    def power(difference: Tensor) -> Tensor:
        return shell_sum(difference.abs().square() * weights, shells)[1:]

    terms = shell_sum(weights, shells)[1:]
    noise = (power(target[1] - target[2]) / (2 * terms)).clamp_min(1e-30)  # of one term
    errors = []
    for maps, of_width in zip(candidates, spectra, strict=True):
        ratio = noise_to_signal(fsc(maps[1], maps[2], mask))
        gain = (1 / (1 + ratio))[shells.clamp_max(len(ratio) - 1)]
        wrong = sum(power(gain * of_width[half] - target[3 - half]) for half in HALVES)
        errors.append(float((wrong / (2 * noise)).sum() / terms.sum()))
    return errors


def best(errors: Sequence[float]) -> int:
    """Index of the least error, of the widest of those alike."""
    return min(range(len(errors)), key=lambda k: (errors[k], k))
