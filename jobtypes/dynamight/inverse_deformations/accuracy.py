"""How good an inverse is: the round trip consensus -> state -> consensus in A, and where the forward map folds."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from jobtypes.dynamight.inverse_deformations.pairs import Pairs
from jobtypes.dynamight.model.inverse_displacement import InverseHalf, fixed_point_inverse


@dataclass(frozen=True)
class Quantiles:
    """Median and 95th percentile of an error, in A."""

    median: float
    percentile_95: float

    @classmethod
    def of(cls, errors: Tensor) -> Quantiles:
        """Of errors (m,); 0 where there is none."""
        if len(errors) == 0:
            return cls(0.0, 0.0)
        median, percentile_95 = torch.quantile(errors, errors.new_tensor((0.5, 0.95))).tolist()
        return cls(median, percentile_95)

    def __str__(self) -> str:
        return f"{self.median:.2g} A (95 % below {self.percentile_95:.2g} A)"


@dataclass(frozen=True)
class Accuracy:
    """Round trip of one half set.

    Attributes
    ----------
    gaussians, elsewhere
        Errors of each method at Gaussians and at random points of the box where the forward map does not fold:
        "network", "corrected" (network and one Newton step) and "fixed point" (20 iterations, no network).
    unmoved
        Distance between consensus and state at the same Gaussians: the error of doing nothing.
    folded_gaussians, folded_elsewhere
        Fraction of points at which the forward map turns space inside out (negative Jacobian).
    errors
        "network" and "corrected" at the Gaussians, (m,) A each, for the histogram.
    """

    gaussians: dict[str, Quantiles]
    elsewhere: dict[str, Quantiles]
    unmoved: Quantiles
    folded_gaussians: float
    folded_elsewhere: float
    errors: dict[str, Tensor]

    def numbers(self) -> dict[str, Any]:
        """Everything but the single errors, for a JSON file; errors in A."""
        content = asdict(self)
        del content["errors"]
        return content


@torch.no_grad()
def measure(inverse: InverseHalf, probe: Pairs, *, iterations: int = 20) -> Accuracy:
    """Judge an inverse on pairs that did not train it."""
    y, a = probe.deformed, probe.coefficients
    found = {
        "network": inverse.consensus_positions(y, a, newton_steps=0),
        "corrected": inverse.consensus_positions(y, a, newton_steps=1),
        "fixed point": fixed_point_inverse(inverse.field, y, a, iterations=iterations),
    }
    errors = {name: (positions - probe.consensus).norm(dim=1) for name, positions in found.items()}
    at, off = probe.at_gaussian, ~probe.at_gaussian
    kept = off & (probe.determinant > 0)
    return Accuracy(
        gaussians={name: Quantiles.of(error[at]) for name, error in errors.items()},
        elsewhere={name: Quantiles.of(error[kept]) for name, error in errors.items()},
        unmoved=Quantiles.of((y - probe.consensus).norm(dim=1)[at]),
        folded_gaussians=_fraction(probe.determinant[at] <= 0),
        folded_elsewhere=_fraction(probe.determinant[off] <= 0),
        errors={name: errors[name][at].cpu() for name in ("network", "corrected")},
    )


def _fraction(condition: Tensor) -> float:
    return float(condition.float().mean()) if len(condition) else 0.0
