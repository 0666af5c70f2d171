"""When to end a training: held-out particles have not improved for long."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class StopRule:
    """A state machine over the held-out objective of successive epochs.

    Attributes
    ----------
    patience
        Epochs without an improvement that end the training.
    tolerance
        Smaller decreases, in log-likelihood units per particle, are no improvement.
    """

    patience: int = 15
    tolerance: float = 0.02
    best: float = float("inf")
    epochs_without_improvement: int = 0

    def update(self, held_out: float) -> bool:
        """Take the objective of one more epoch; True means stop."""
        if held_out < self.best - self.tolerance:
            self.best = held_out
            self.epochs_without_improvement = 0
        else:
            self.epochs_without_improvement += 1
        return self.epochs_without_improvement >= self.patience

    def state(self) -> dict[str, float]:
        """What a checkpoint keeps."""
        return {"best": self.best, "epochs_without_improvement": self.epochs_without_improvement}

    def restore(self, state: dict[str, float]) -> None:
        """Go on from a checkpoint's state."""
        self.best, self.epochs_without_improvement = float(state["best"]), int(state["epochs_without_improvement"])
