"""How wide the kernel is: by the half maps of one half set against those of the other.

A wide kernel brings many particles and little noise, but also whatever the model got wrong about those far from the state; a
narrow one the reverse. The map of the narrowest kernel is right but for its noise, and that of the other half set has another
noise. So the map V of each width of one half, filtered as the FSC allows, is held against the narrowest map T of the other half.
What they differ by is the error of V and the noise of T, which half maps tell by themselves: |T1 - T2|^2 / 2. And as the mean of
both halves is what will be looked at, the noise that goes in the mean, |V1 - V2|^2 / 4, is taken off.

Source: the principle is that of kernel regression cross-validated between half sets, Gilles and Singer, "Cryo-EM heterogeneity
analysis using regularized covariance estimation and kernel regression", PNAS 2025; the measure is ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from jobtypes.common.conventions import HALVES
from jobtypes.common.fourier import fsc, half_plane_weights, rfft3, shell_sum, shells_3d
from jobtypes.dynamight.backprojection.normal_equations import noise_to_signal


def errors_of_means(candidates: Sequence[Mapping[int, Tensor]], mask: Tensor) -> list[float]:
    """Error of the mean of both half maps of each candidate, judged by the maps of the last one.

    Parameters
    ----------
    candidates
        Half maps (N, N, N) of each width, by half, the widest first.
    mask : (N, N, N)
        Where they are compared.

    Returns
    -------
    list
        Power of what is wrong in the filtered mean map over that of the noise of a half map of the last candidate, in the mean
        over the shells: each counts alike, and by how surely its errors are seen.
    """
    box = mask.shape[0]
    shells = shells_3d(box, device=mask.device)
    weights = half_plane_weights(box, 3, device=mask.device)
    spectra = [{half: rfft3(maps[half] * mask) for half in HALVES} for maps in candidates]
    target = spectra[-1]

    def power(terms: Tensor) -> Tensor:
        return shell_sum(terms.abs().square() * weights, shells)[1:]

    noise = power(target[1] - target[2]) / 2
    errors = []
    for maps, of_width in zip(candidates, spectra, strict=True):
        ratio = noise_to_signal(fsc(maps[1], maps[2], mask))
        gain = (1 / (1 + ratio / 2))[shells.clamp_max(len(ratio) - 1)]  # of the mean
        differ = (power(gain * of_width[1] - target[2]) + power(gain * of_width[2] - target[1])) / 2
        wrong = differ - noise - power(gain * (of_width[1] - of_width[2])) / 4
        errors.append(float((wrong / noise.clamp_min(1e-30)).mean()))
    return errors


def best(errors: Sequence[float]) -> int:
    """Index of the least error, of the widest of those alike."""
    return min(range(len(errors)), key=lambda k: (errors[k], k))
