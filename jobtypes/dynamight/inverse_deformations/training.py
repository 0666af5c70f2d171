"""The training of one half's inverse network: an epoch, the learning rate, and when it has converged."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from jobtypes.dynamight.inverse_deformations.orthogonal_momentum import OrthogonalMomentum
from jobtypes.dynamight.inverse_deformations.pairs import Pairs, PairSource
from jobtypes.dynamight.model.inverse_displacement import InverseDisplacement

_ROUNDING_ANGSTROMS = 0.2  # errors below this count by their square, larger ones linearly: a fold must not drag its neighbourhood

_SMALLEST_BATCH, _FEWEST_STEPS = 128, 16


@dataclass(frozen=True)
class Schedule:
    """How long and how fast.

    Attributes
    ----------
    n_epochs
        Most epochs.
    learning_rate
        At the start; it falls along half a cosine to 0 at the last epoch.
    batch_size
        Pairs per step at most; small sets take an epoch in 16 steps.
    goal_median_angstroms, goal_95_angstroms
        Converged when the errors at Gaussians (median and 95th percentile) are below both.
    """

    n_epochs: int
    learning_rate: float = 1e-2
    batch_size: int = 2048
    goal_median_angstroms: float = 0.08
    goal_95_angstroms: float = 0.3

    def rate(self, progress: float) -> float:
        """Learning rate after `progress` epochs."""
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * min(progress / self.n_epochs, 1.0)))

    def converged(self, history: list[dict[str, float]]) -> bool:
        """True where the last epoch reached both goals."""
        return bool(history) and (
            history[-1]["median"] <= self.goal_median_angstroms and history[-1]["percentile_95"] <= self.goal_95_angstroms
        )


class StoredPairs:
    """Draws of a source kept in memory and used in turn, instead of a fresh draw for every epoch.

    Parameters
    ----------
    source
        Where the pairs come from.
    n_draws
        Draws to use in turn.
    memory_bytes
        That they may take; those that it does not hold are drawn again each time, alike.
    """

    def __init__(self, source: PairSource, n_draws: int, memory_bytes: int) -> None:
        self.source = source
        self.n_draws = n_draws
        self._memory_bytes = memory_bytes
        self._kept: dict[int, Pairs] = {}

    def draw(self, epoch: int) -> Pairs:
        """The pairs of an epoch, counted from 1; the same whatever was drawn before."""
        key = 1 + (epoch - 1) % self.n_draws
        if key in self._kept:
            return self._kept[key]
        pairs = self.source.draw(key)
        if self.bytes + pairs.bytes <= self._memory_bytes:
            self._kept[key] = pairs
        return pairs

    @property
    def n_kept(self) -> int:
        """Draws in memory so far."""
        return len(self._kept)

    @property
    def bytes(self) -> int:
        """Memory of the draws kept so far."""
        return sum(pairs.bytes for pairs in self._kept.values())


class InverseTraining:
    """One half set's network on its way.

    Parameters
    ----------
    network
        Identity map, or what is left of an earlier run (`restore`).
    pairs
        ``draw(epoch)`` gives the pairs of an epoch; draw 0 of the source is kept apart to measure the error.
    probe
        Pairs that train nothing.
    schedule
        Epochs and rates.
    seed
        Of the order of the pairs.
    """

    def __init__(
        self, network: InverseDisplacement, pairs: PairSource | StoredPairs, probe: Pairs, schedule: Schedule, *, seed: int
    ) -> None:
        self.network, self.pairs, self.probe, self.schedule, self.seed = network, pairs, probe, schedule, seed
        self.optimiser = OrthogonalMomentum(network.parameters(), schedule.learning_rate)
        self.epoch = 0
        self.history: list[dict[str, float]] = []

    @property
    def finished(self) -> bool:
        """True where no further epoch is wanted."""
        return self.epoch >= self.schedule.n_epochs or self.schedule.converged(self.history)

    def run_epoch(self, stop_requested: Callable[[], bool]) -> bool:
        """Pass over the particles once; False where it was stopped half way, with the state as before the epoch."""
        before = copy.deepcopy(self.state())
        pairs = self.pairs.draw(self.epoch + 1)
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch + 1)
        order = torch.randperm(len(pairs), generator=generator).to(pairs.weight.device)
        batches = order.split(min(self.schedule.batch_size, max(_SMALLEST_BATCH, len(pairs) // _FEWEST_STEPS)))
        losses = []
        for index, batch in enumerate(batches):
            if stop_requested():
                self.restore(before)
                return False
            self.optimiser.param_groups[0]["lr"] = self.schedule.rate(self.epoch + index / len(batches))
            losses.append(self._step(pairs, batch))
        self.epoch += 1
        self.history.append({"epoch": self.epoch, "loss": float(torch.stack(losses).mean())} | self.probe_errors())
        return True

    def _step(self, pairs: Pairs, batch: Tensor) -> Tensor:
        deformed, weight = pairs.deformed[batch], pairs.weight[batch]
        error = deformed + self.network(deformed, pairs.coefficients[batch]) - pairs.consensus[batch]
        loss: Tensor = (weight * (error.square().sum(1) + _ROUNDING_ANGSTROMS**2).sqrt()).sum() / weight.sum().clamp(min=1)
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        return loss.detach()

    @torch.no_grad()
    def probe_errors(self) -> dict[str, float]:
        """Median and 95th percentile, in A, of the network's round trip at Gaussians of the probe."""
        probe = self.probe
        error = (probe.deformed + self.network(probe.deformed, probe.coefficients) - probe.consensus).norm(dim=1)[
            probe.at_gaussian
        ]
        median, percentile_95 = torch.quantile(error, error.new_tensor((0.5, 0.95))).tolist()
        return {"median": median, "percentile_95": percentile_95}

    def state(self) -> dict[str, Any]:
        """Everything that the next epoch depends on; randomness depends on the seed and the epoch only."""
        return {
            "shape": self.network.shape,
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "epoch": self.epoch,
            "seed": self.seed,
            "history": list(self.history),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a `state`."""
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.epoch, self.history = state["epoch"], list(state["history"])
