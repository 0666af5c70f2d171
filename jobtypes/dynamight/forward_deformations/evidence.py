"""Is there motion? What particles that a model was not trained on say of it, and when that is a claim.

Motion is claimed of a half set where particles are sure to be more likely with it than without: those that the half set held out
of its training, and those that the other half set held out, of which neither model has seen any; and where the models of both
half sets give these particles the same motion. What a model has learned of the noise, or of what is wrong with its own images,
does not help it with the images of others, and is not what the other model has learned. An image counts once, however many copies
of it there are.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from jobtypes.common.copies import mean_of_copies
from jobtypes.dynamight.model.disagreement import AgreementOfMotions

SURE_ERRORS = 3.0  # standard errors of the evidence that make it sure


@dataclass(frozen=True)
class Evidence:
    """Log evidence for motion against none, per particle.

    Attributes
    ----------
    mean, error
        Over images, each with the mean of its copies, and its standard error; both 0 of fewer than two.
    """

    mean: float
    error: float

    @classmethod
    def of(cls, values: Tensor, image: Tensor) -> Evidence:
        """From the log evidence (m,) of each particle, and the image (m,) that it is of."""
        values = mean_of_copies(values.double(), image)
        if len(values) < 2:
            return cls(0.0, 0.0)
        return cls(float(values.mean()), float(values.std() / len(values) ** 0.5))

    @property
    def is_sure(self) -> bool:
        """Whether it speaks for motion beyond doubt."""
        return self.mean > 0 and self.mean >= SURE_ERRORS * self.error

    def __str__(self) -> str:
        """The mean and its error."""
        return f"{self.mean:+.1f} ± {self.error:.1f}"


@dataclass(frozen=True)
class MotionFinding:
    """What was found in one half set.

    Attributes
    ----------
    half
        1 or 2.
    rms_motion_angstroms, mobile_tenth_angstroms
        How far the density moves, and by how much its most mobile tenth at least.
    own, of_other
        What the particles that this half set, and the other, held out say of this half set's motion.
    agreements
        Of the models of both half sets on these particles, of each half set by itself.
    """

    half: int
    rms_motion_angstroms: float
    mobile_tenth_angstroms: float
    own: Evidence
    of_other: Evidence
    agreements: tuple[AgreementOfMotions, AgreementOfMotions]

    @property
    def has_motion(self) -> bool:
        """Whether motion is claimed."""
        return self.own.is_sure and self.of_other.is_sure and all(agreement.is_sure for agreement in self.agreements)

    def sentence(self) -> str:
        """The finding in words."""
        who = (
            f"held-out particles are more likely with it than without by {self.own} log-likelihood units each, those of the "
            f"other half set by {self.of_other}; the motions that both half sets give them correlate by {self.agreements[0]} and "
            f"{self.agreements[1]}"
        )
        if self.has_motion:
            return (
                f"Half {self.half}: the density moves by {self.rms_motion_angstroms:.1f} A rms, its most mobile tenth by "
                f"{self.mobile_tenth_angstroms:.1f} A or more; {who}."
            )
        return f"Half {self.half}: no motion was found; what was learned is {self.rms_motion_angstroms:.2f} A rms, and {who}."
