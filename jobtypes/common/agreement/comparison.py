"""Images against what a reading of the inputs predicts for them: per particle and shell, and as a gain of log-likelihood.

Within a shell of a group, images are a factor times the prediction, plus noise; the factor is what the map's grey scale,
sharpening and resolution make it, but never negative. The gain is that of the log-likelihood over noise alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from jobtypes.common.agreement.readings import MapSlices, Reading, chunks
from jobtypes.common.agreement.samples import Sample


@dataclass(frozen=True)
class ImageAgreement:
    """How n images agree with predictions.

    Attributes
    ----------
    cross : (n, s)
        Sum of w Re(conj(p) x) over the terms of each shell, x and p whitened.
    energy : (n, s)
        Sum of w |p|^2.
    """

    cross: Tensor
    energy: Tensor

    def of(self, members: Tensor) -> ImageAgreement:
        """Of some particles."""
        return ImageAgreement(self.cross[members], self.energy[members])

    def gains(self) -> Tensor:
        """(n,) gain of log-likelihood of each particle, with the factors that suit all of these particles best."""
        factors = self.factors()
        return (2 * factors * self.cross - factors.square() * self.energy).sum(1)

    def factors(self) -> Tensor:
        """(s,) of each shell, not negative."""
        return (self.cross.sum(0) / self.energy.sum(0).clamp(min=1e-30)).clamp(min=0)

    def deviations(self) -> Tensor:
        """(s,) sums of the shells over what they scatter by where images and predictions have nothing in common."""
        return self.cross.sum(0) / (self.energy.sum(0) / 2).clamp(min=1e-30).sqrt()

    def correlations(self, independent: Tensor) -> Tensor:
        """(s,) correlation of images and predictions, of shells with so many independent terms (s,) in an image."""
        power = len(self.cross) * independent * self.energy.sum(0)
        return self.cross.sum(0) / power.clamp(min=1e-30).sqrt()


def compare(sample: Sample, slices: MapSlices, reading: Reading) -> ImageAgreement:
    """Compare a sample's images with what a reading predicts."""
    weights, terms = sample.terms.weights, sample.terms
    cross, energy = [], []
    for part in chunks(sample):
        predicted = slices.predict(reading, sample, part)
        cross.append(terms.sum_of_shells((predicted.conj() * sample.spectra[part]).real * weights))
        energy.append(terms.sum_of_shells(predicted.abs().square() * weights))
    return ImageAgreement(torch.cat(cross), torch.cat(energy))


def certainty(better: Tensor, other: Tensor) -> float:
    """How many times its own scatter the mean difference of gains (n,) of the same particles is."""
    difference = better - other
    if len(difference) < 2:
        return 0.0
    return float(difference.mean() / (difference.std() / len(difference) ** 0.5).clamp(min=1e-9))
