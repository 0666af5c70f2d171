"""How far an epoch of one half set is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from jobtypes.dynamight.forward_deformations.noise import ShellPower
from jobtypes.dynamight.model.observations import Band
from jobtypes.dynamight.model.quality import QualitySums


@dataclass
class EpochProgress:
    """How far an epoch is: everything that its remaining steps depend on, so that it can be left and taken up anywhere.

    Attributes
    ----------
    order : (p,)
        Training particles in the order of this epoch.
    residual_power, qualities
        Of the steps done.
    totals
        Sums of each figure over the particles seen.
    seen
        Particles seen.
    """

    order: Tensor
    residual_power: ShellPower
    qualities: QualitySums
    totals: dict[str, float]
    seen: int = 0

    def add(self, particles: int, sums: dict[str, float]) -> None:
        """Count a batch and the sum of each figure over its particles."""
        self.seen += particles
        for name, value in sums.items():
            self.totals[name] = self.totals.get(name, 0.0) + value

    def means(self) -> dict[str, float]:
        """Each figure per particle."""
        return {name: total / max(1, self.seen) for name, total in self.totals.items()}

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        sums = self.residual_power.state() | self.qualities.state()
        return {"order": self.order, **sums, "totals": self.totals, "seen": self.seen}

    @classmethod
    def from_state(cls, state: dict[str, Any], n_groups: int, band: Band) -> EpochProgress:
        """The progress of a checkpoint; the power is of so many optics groups and of the terms of a band."""
        power = ShellPower(n_groups, band)
        power.restore(state)
        qualities = QualitySums.from_state(state, band.shells.device)
        return cls(state["order"], power, qualities, dict(state["totals"]), state["seen"])
