"""How far an epoch of one half set is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from jobtypes.common.team import Crew
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
        Of this process's particles in the steps done.
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

    def _sums(self) -> dict[str, Tensor]:
        return self.residual_power.state() | self.qualities.state()

    def add_up(self, crew: Crew) -> None:
        """Make the sums those of all particles seen; to be called by all processes of the half set, at the epoch's end."""
        crew.sum_(*self._sums().values())

    def state(self, crew: Crew) -> dict[str, Any]:
        """What a checkpoint keeps, of all particles seen; to be called by all processes of the half set."""
        sums = {name: total.clone() for name, total in self._sums().items()}
        crew.sum_(*sums.values())
        return {"order": self.order, **sums, "totals": dict(self.totals), "seen": self.seen}

    @classmethod
    def from_state(cls, state: dict[str, Any], n_groups: int, band: Band, crew: Crew) -> EpochProgress:
        """The progress of a checkpoint; the power is of so many optics groups and of the terms of a band.

        The first process goes on with the sums.
        """
        power = ShellPower(n_groups, band)
        qualities = QualitySums.none(len(state["quality_power"]), band.shells.device)
        if crew.is_first:
            power.restore(state)
            qualities = QualitySums.from_state(state, band.shells.device)
        return cls(state["order"], power, qualities, dict(state["totals"]), state["seen"])
