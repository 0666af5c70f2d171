"""Vector fields in space, held by their values at control points and blended between these.

A value moves its own surroundings and nothing else, so that a sharp hinge is learned as fast as a slow bend; a network on a
positional encoding is slow where fields change within a few A. Levels of several spacings are added up. Source: Sumner et al.
2007 for a deformation held by the nearest control points, with weights that end at the next one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import Any, cast

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor, nn

from jobtypes.common.autograd import apply
from jobtypes.common.devices import copied_to

# Wide levels carry domains, which are tens of A across; the finest carries a hinge of a few residues, 3.8 A each.
SPACINGS_ANGSTROMS = (26.0, 13.0, 6.5)
WIDTH_PER_SPACING = 0.7  # standard deviation of the weights
# Control points of a level that count at a place. Inside a molecule they lie within 1.6 spacings, where a Gaussian of that width
# has fallen to a twelfth. A hinge is learned no better with more.
NEAREST = 12
# Starting values of the coarsest level: small, but not zero, where no latent would have a slope.
START_ANGSTROMS = 0.1
# Over all levels, until they hold what they are given: a smooth field's last three thousandths take many more.
SWEEPS = 5


class ControlPoints(nn.Module):
    """Vector fields: the sum of `Level`s.

    Parameters
    ----------
    points
        Of each level (c, 3) A, the coarsest first; `around` chooses them.
    spacings_angstroms
        Of each level.
    n_columns
        Numbers that a control point holds: three for each field.
    """

    def __init__(self, points: Sequence[Tensor], spacings_angstroms: Sequence[float], n_columns: int) -> None:
        super().__init__()
        levels = (Level(part, spacing, n_columns) for part, spacing in zip(points, spacings_angstroms, strict=True))
        self.levels = cast(Sequence[Level], nn.ModuleList(levels))
        nn.init.normal_(self.levels[0].values, std=START_ANGSTROMS)  # finer ones start at zero

    @classmethod
    def around(cls, points: Tensor, n_columns: int) -> ControlPoints:
        """Control points among the points (n, 3) A of a molecule, so dense that each of these is near one of every level."""
        return cls([thinned(points, spacing) for spacing in SPACINGS_ANGSTROMS], SPACINGS_ANGSTROMS, n_columns)

    @classmethod
    def of_state(cls, state: dict[str, Tensor], prefix: str) -> ControlPoints:
        """Control points that the entries of a state dict, under a prefix, fit into."""
        n_levels = sum(name.startswith(f"{prefix}levels.") and name.endswith(".points") for name in state)
        points, spacings = (
            [state[f"{prefix}levels.{level}.{name}"] for level in range(n_levels)] for name in ("points", "spacing")
        )
        return cls(points, [float(spacing) for spacing in spacings], state[f"{prefix}levels.0.values"].shape[1])

    @torch.no_grad()
    def take(self, values: Tensor, points: Tensor) -> None:
        """Hold about these values (m, columns) at points (m, 3) A.

        Each level, the coarsest first, takes the means around its control points of what the others leave, several times over.
        """
        nearest = self.nearest(points)
        for level in self.levels:
            level.values.zero_()
        for level, part in [*zip(self.levels, nearest, strict=True)] * SWEEPS:
            level.add_means(values - self(points, nearest), level.weights(points, part), part)

    def nearest(self, points: Tensor) -> list[Neighbours]:
        """`Level.nearest` of points (m, 3) A in every level: what `forward` may be told, as long as they hardly move."""
        there = points.detach().cpu()
        return [level.nearest(there).to(points.device) for level in self.levels]

    def forward(self, points: Tensor, nearest: Sequence[Neighbours] | None = None) -> Tensor:
        """Values (m, columns) at points (m, 3) A. Differentiable by the points and by the values of the control points.

        `nearest`: of these points, or of where they were a few A before; None: looked up.
        """
        nearest = self.nearest(points) if nearest is None else nearest
        values: Tensor = reduce(torch.add, (level(points, part) for level, part in zip(self.levels, nearest, strict=True)))
        return values


@dataclass(frozen=True)
class Neighbours:
    """The control points of a level around each of m points.

    Attributes
    ----------
    index : (m, k)
        Of the control points.
    count
        Control points c of the level.
    """

    index: Tensor
    count: int

    def to(self, device: torch.device) -> Neighbours:
        """Copy on a device."""
        return Neighbours(copied_to(self.index, device), self.count)

    @cached_property
    def by_control_point(self) -> tuple[Tensor, Tensor, Tensor]:
        """Places (m k,) in the flat index, sorted by the control point there, their rows, and where those of each (c,) begin."""
        control_points, places = self.index.flatten().sort(stable=True)
        begins = torch.searchsorted(control_points, torch.arange(self.count, device=self.index.device))
        return places, places // self.index.shape[1], begins


class Level(nn.Module):
    """Control points of one spacing and their values.

    At a place the nearest control points count by Gaussian weights that add up to one everywhere, so that equal values give this
    value in all of space. The weight of the farthest that is looked up is subtracted from all: it counts nothing, and can be
    exchanged for another one that has come as near without a jump.

    Parameters
    ----------
    points : (c, 3) A
        Control points.
    spacing_angstroms
        How far they are apart.
    n_columns
        Numbers that each holds, zero at first.
    """

    points: Tensor
    spacing: Tensor

    def __init__(self, points: Tensor, spacing_angstroms: float, n_columns: int) -> None:
        super().__init__()
        self.register_buffer("points", points.detach().clone())
        self.register_buffer("spacing", torch.tensor(spacing_angstroms))
        self.values = nn.Parameter(points.new_zeros(len(points), n_columns))

    def nearest(self, points: Tensor) -> Neighbours:
        """The nearest control points of each of the points (m, 3) A, on the CPU, one more than count; at most all."""
        k = min(NEAREST + 1, len(self.points))
        tree = cKDTree(self.points.cpu().numpy())
        _, index = tree.query(points.numpy(), k=range(1, k + 1), workers=torch.get_num_threads())
        return Neighbours(torch.from_numpy(index), len(self.points))

    def weights(self, points: Tensor, nearest: Neighbours) -> Tensor:
        """(m, k) how much each of the nearest control points counts at points (m, 3) A; they add up to one."""
        apart = points[:, None] - self.points.index_select(0, nearest.index.flatten()).view(*nearest.index.shape, 3)
        squared = apart.square().sum(2)
        # a common factor changes nothing: the nearest has weight 1, however far away all of them are
        closest = squared.detach().amin(1, keepdim=True)
        kernel = ((closest - squared) / (2 * (WIDTH_PER_SPACING * self.spacing).square())).exp()
        if nearest.count > nearest.index.shape[1]:
            kernel = kernel - kernel.amin(1, keepdim=True)
        return kernel / kernel.sum(1, keepdim=True)

    @torch.no_grad()
    def add_means(self, values: Tensor, weights: Tensor, nearest: Neighbours) -> None:
        """Add the means of values (m, columns) by the weights (m, k) with which control points count there; 0 where none does."""
        control_points = nearest.index.flatten()
        sums = torch.zeros_like(self.values).index_add_(0, control_points, (weights[:, :, None] * values[:, None]).flatten(0, 1))
        counts = torch.zeros_like(self.values[:, 0]).index_add_(0, control_points, weights.flatten())
        self.values.add_(sums / counts.clamp(min=torch.finfo(counts.dtype).eps)[:, None])

    def forward(self, points: Tensor, nearest: Neighbours) -> Tensor:
        """Values (m, columns) at points (m, 3) A from those of the nearest control points."""
        weights = self.weights(points, nearest)
        blended = nn.functional.embedding_bag(nearest.index, self.values.detach(), per_sample_weights=weights, mode="sum")
        return apply(_SlopeOfValues, blended, self.values, weights.detach(), nearest)


class _SlopeOfValues(torch.autograd.Function):
    """Blended values as they are, with the gradient by the values of the control points.

    As sums over the sorted neighbours it takes a tenth of the time that `embedding_bag` takes for it, which sorts at each step.
    """

    @staticmethod
    def forward(ctx: Any, blended: Tensor, values: Tensor, weights: Tensor, nearest: Neighbours) -> Tensor:
        """Values (c, columns) and weights (m, k) have been blended to (m, columns)."""
        ctx.save_for_backward(weights)
        ctx.nearest = nearest
        return blended.view_as(blended)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, Tensor, None, None]:
        """Gradients by what was blended and by the values."""
        (weights,), slope = ctx.saved_tensors, slopes[0].contiguous()
        places, rows, begins = ctx.nearest.by_control_point
        sorted_weights = weights.flatten().index_select(0, places)
        of_values = nn.functional.embedding_bag(rows, slope, begins, per_sample_weights=sorted_weights, mode="sum")
        return slope, of_values, None, None


def thinned(points: Tensor, spacing: float) -> Tensor:
    """Some of the points (n, 3): farther than the spacing from each other, and none of all farther than it from one of them.

    The first is the one in the middle, each next one that which is farthest from those chosen. Source: farthest-point sampling
    of Gonzalez 1985.
    """
    all_points = points.detach().cpu().double().numpy()
    tree = cKDTree(all_points)
    chosen = [int(np.square(all_points - all_points.mean(0)).sum(1).argmin())]
    squared = np.square(all_points - all_points[chosen[0]]).sum(1)  # distance of each to the nearest that is chosen
    while squared[farthest := int(squared.argmax())] > spacing**2:
        chosen.append(farthest)
        # no point is farther from those before
        near = np.array(tree.query_ball_point(all_points[farthest], squared[farthest] ** 0.5))
        squared[near] = np.minimum(squared[near], np.square(all_points[near] - all_points[farthest]).sum(1))
        squared[farthest] = 0.0
    return points.detach()[chosen].clone()
