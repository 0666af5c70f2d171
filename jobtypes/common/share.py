"""The share that a process has in many items: each item is one process's own, and what all find of them comes together.

Which items are whose follows from their number, so that what a process keeps of its own stays with it. One process alone owns all
items, and every call returns at once, so that work is written in one way.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from jobtypes.common.team import ALONE, Crew


class Share:
    """A process's share in n items.

    Parameters
    ----------
    owned : (n,) bool, CPU
        Which are its own; each item is owned by one process of the crew.
    crew
        The processes that share them.
    """

    def __init__(self, owned: Tensor, crew: Crew) -> None:
        self.owned, self.crew = owned, crew

    @classmethod
    def whole(cls, n: int) -> Share:
        """That of one process alone, in n items."""
        return cls(torch.ones(n, dtype=torch.bool), ALONE)

    def of_all(self, done: int) -> int:
        """How many of all items are done where so many of the own are, if others are as far."""
        return done * len(self.owned) // int(self.owned.sum())

    def places(self, index: Tensor) -> Tensor:
        """Where in an index (b,) on the CPU the own items stand, (b_own,)."""
        return torch.nonzero(self.owned[index]).squeeze(1)

    def of(self, index: Tensor) -> Tensor:
        """The own items of an index (b,) on the CPU, (b_own,)."""
        return index[self.owned[index]]

    def batches(self, index: Tensor, size: int) -> Iterator[Tensor]:
        """The own items of an index (b,) in batches; none where there are none."""
        own = self.of(index)
        return iter(own.split(size) if len(own) else ())

    def gathered(self, index: Tensor, parts: Sequence[Tensor]) -> Tensor:
        """Values of all items of an index (b,), in its order, on the CPU.

        Parameters
        ----------
        index : (b,) CPU
            Items, the same in every process.
        parts
            Values (p, ...) of the own items of the index, in their order, batch by batch.
        """
        own = torch.cat([part.detach().cpu() for part in parts]) if parts else None
        found = [(places, values) for places, values in self.crew.all_of((self.places(index), own)) if values is not None]
        if not found:
            return torch.zeros(0)
        values: Tensor = found[0][1].new_empty(len(index), *found[0][1].shape[1:])
        for places, some in found:
            values[places] = some
        return values

    def exchange_(self, *tensors: Tensor) -> None:
        """Give every process the rows of tensors (n, ...) that belong to items of others, in place."""
        if self.crew.count == 1:
            return
        for tensor in tensors:
            tensor[~self.owned.to(tensor.device)] = 0
        self.crew.sum_(*tensors)
