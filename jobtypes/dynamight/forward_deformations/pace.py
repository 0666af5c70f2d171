"""How a half set goes through the plan of its epochs: motions are looked for until held-out particles improve no more.

The plan holds at the last epoch in which motions are found: all resolution, little weight of the prior. That epoch is done
again as long as it pays, so that a set with clear motions goes on at once and one with faint ones has the time it needs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from jobtypes.dynamight.forward_deformations.schedule import hold_epoch


@dataclass
class Pace:
    """A state machine over the held-out objective of successive epochs.

    Attributes
    ----------
    n_epochs
        Of the plan.
    most_epochs
        With all that are done again.
    patience
        Epochs without an improvement that end the hold.
    tolerance
        Smaller decreases, in log-likelihood units per particle, are no improvement.
    position
        The epoch of the plan that comes next, from 0.
    held
        Epochs that were done again.
    best, epochs_without_improvement
        Of the held-out objective in the hold.
    """

    n_epochs: int
    most_epochs: int
    patience: int = 4
    tolerance: float = 0.05
    position: int = 0
    held: int = 0
    best: float = float("inf")
    epochs_without_improvement: int = 0

    @property
    def is_done(self) -> bool:
        """Whether no epoch is left."""
        return self.position >= self.n_epochs

    @property
    def is_again(self) -> bool:
        """Whether the next epoch has been done before."""
        return self.held > 0 and self.position == hold_epoch(self.n_epochs)

    @property
    def epochs_left(self) -> int:
        """At least so many."""
        return self.n_epochs - self.position

    @property
    def has_converged(self) -> bool:
        """Whether the hold, once it is over, was left since held-out particles improved no more, not since time was up."""
        return self.epochs_without_improvement >= self.patience

    def advance(self, held_out: float) -> None:
        """Take the held-out objective of the epoch that has ended."""
        if self.position == hold_epoch(self.n_epochs):
            self._count(held_out)
            if not self.has_converged and self.n_epochs + self.held < self.most_epochs:
                self.held += 1
                return
        self.position += 1

    def _count(self, held_out: float) -> None:
        if held_out < self.best - self.tolerance:
            self.best, self.epochs_without_improvement = held_out, 0
        else:
            self.epochs_without_improvement += 1

    def sentence(self) -> str:
        """Why the training took as long as it did."""
        total = self.n_epochs + self.held
        found = hold_epoch(self.n_epochs) + self.held + 1
        if self.has_converged:
            why = "when held-out particles improved no more"
            return f"the search for motions ended after epoch {found}, {why}; {total} epochs in all."
        if self.held and self.epochs_without_improvement == 0:
            return (
                f"held-out particles still improved when the motions had to be found, after epoch {found} of {total}; give more "
                "epochs (n_training_epochs) if the motion matters."
            )
        return f"all {total} epochs that were allowed were done; whether more would have found more was not to be seen."

    def carried_over(self, state: dict[str, Any], share_done_again: float) -> int:
        """Go on with other images from an earlier training's state: the last share of the plan is done again.

        Returns how many of the earlier epochs are to be done again. What held-out particles said is of the earlier images, and
        is forgotten where the hold is still to come.
        """
        earlier = int(state["n_epochs"])
        again = max(1, round(share_done_again * self.n_epochs))
        self.position = min(round(state["position"] * self.n_epochs / earlier), self.n_epochs - again)
        if self.position > hold_epoch(self.n_epochs):
            self.held, self.best = state["held"], state["best"]
            self.epochs_without_improvement = state["epochs_without_improvement"]
        return int(state["position"]) - round(self.position * earlier / self.n_epochs)

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {name: getattr(self, name) for name in _KEPT}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint's state."""
        for name in _KEPT:
            setattr(self, name, state[name])


_KEPT = ("n_epochs", "position", "held", "best", "epochs_without_improvement")
