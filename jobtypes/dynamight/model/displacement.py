"""Latent -> displacement of every point of space, as a sum of basis fields.

u(x; z) = sum_k a_k(z) U_k(x)

The fields U_k (the trunk: values at control points) are evaluated once per step for all points, the coefficients a_k (the
branch: a network) once per particle, so that a batch of displacements is one matrix product. Source: branch and trunk of Lu et
al. 2021 (DeepONet).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from scipy.spatial import cKDTree
from torch import Tensor, nn

from jobtypes.common.masks import raised_cosine
from jobtypes.dynamight.model.control_points import ControlPoints, Neighbours

# Deformations are learned at the Gaussians; beyond these distances (A) from the nearest one they fade out.
TAPER_START_ANGSTROMS, TAPER_END_ANGSTROMS = 8.0, 20.0
# On the way to the reference state: few points are left after the first steps. Gaussians around a point that tell where it came
# from.
REFERENCE_ITERATIONS, REFERENCE_STEP_ANGSTROMS, AROUND = 20, 0.005, 12


class Field(Protocol):
    """What the inversion and the reconstruction need of a displacement field."""

    def basis(self, points: Tensor) -> Tensor:
        """Basis fields at points (m, 3) A: (K, m, 3) A, zero far from the density."""


class DisplacementField(nn.Module):
    """The deformation of one half set.

    Parameters
    ----------
    n_latent
        Latent dimensions d.
    n_fields
        Basis fields K.
    control_points
        Of 3 K columns: what holds the fields.
    width
        Neurons of each of the two hidden layers of the branch.
    """

    anchors: Tensor
    anchor_weights: Tensor
    mask: Tensor
    mask_ends: Tensor
    reference: Tensor

    def __init__(self, *, n_latent: int, n_fields: int, control_points: ControlPoints, width: int = 128) -> None:
        super().__init__()
        self.n_fields = n_fields
        self.trunk = control_points
        self.branch = _perceptron(n_latent, width, 2, n_fields)
        # the points and weights that define "no rigid motion of the whole"
        self.register_buffer("anchors", torch.zeros(0, 3))
        self.register_buffer("anchor_weights", torch.zeros(0))
        # part of what is learned from, not of what is learned: chosen anew whenever a training is read
        self.register_buffer("reference", torch.zeros(n_fields), persistent=False)
        self.has_reference = False
        # the region that may move; none: everything
        self.register_buffer("mask", torch.zeros(0))
        self.register_buffer("mask_ends", torch.zeros(2))

    def set_anchors(self, positions: Tensor, weights: Tensor) -> None:
        """Remove from now on the rigid motion of these points (n, 3) A, weighted by (n,), from every field."""
        self.anchors, self.anchor_weights = positions.detach().clone(), weights.detach().clone()

    def set_mask(self, mask: Tensor, pixel_size_angstroms: float, finest: int = 64) -> None:
        """Let only the inside of a mask (N, N, N) move, in proportion to its value; kept on a grid of at most `finest` points."""
        box = mask.shape[0]
        size = min(finest, box)
        small = nn.functional.interpolate(mask[None, None].float(), size=(size,) * 3, mode="trilinear", align_corners=True)
        ends = torch.tensor([-(box // 2), box - 1 - box // 2]) * pixel_size_angstroms  # of the voxel centres, A
        self.mask, self.mask_ends = small[0, 0].to(self.mask), ends.to(self.mask)

    def mobility(self, points: Tensor) -> Tensor:
        """(m,) value of the mask at points (m, 3) A; 1 everywhere without a mask, 0 outside its box."""
        if self.mask.numel() == 0:
            return torch.ones_like(points[:, 0])
        first, last = self.mask_ends
        grid = (2 * (points - first) / (last - first) - 1)[None, None, None]
        return nn.functional.grid_sample(self.mask[None, None], grid, align_corners=True)[0, 0, 0, 0]

    def set_reference(self, coefficients: Tensor) -> None:
        """Count displacements from the state with these coefficients (K,) instead of that of latent zero.

        The fields stay what they are, functions of the positions in the state of latent zero; points are brought there first.
        """
        self.reference = coefficients.detach().clone()
        self.has_reference = bool(self.reference.any())  # asked once: a GPU would have to be waited for at every step

    def hold(self, basis: Tensor, positions: Tensor) -> None:
        """Take new control points among positions (n, 3) A, which hold about these fields (K, n, 3) A there."""
        values = basis.transpose(0, 1).flatten(1)
        self.trunk = ControlPoints.around(positions, values.shape[1]).to(values)
        self.trunk.take(values, positions)

    def coefficients(self, latent: Tensor) -> Tensor:
        """a_k of latents (b, d): (b, K), zero at the reference state, that of latent zero unless another was set."""
        coefficients: Tensor = self.branch(latent) - self.branch(torch.zeros_like(latent[:1])) - self.reference
        return coefficients

    def raw_basis(self, points: Tensor, nearest: Sequence[Neighbours] | None = None) -> Tensor:
        """U_k at points (m, 3) A before rigid motions are removed: (K, m, 3) A, in memory (K, 3, m) as `combine` likes it.

        `nearest`: control points around them, see `ControlPoints.forward`.
        """
        fields: Tensor = self.trunk(points, nearest).T.contiguous()  # (3 K, m)
        return fields.view(self.n_fields, 3, -1).transpose(1, 2)

    def basis_at_gaussians(self, positions: Tensor) -> Tensor:
        """U_k at the Gaussians (n, 3) A: (K, n, 3) A, without their rigid motion. Differentiable."""
        if self.has_reference:
            positions = self.anchors  # where the Gaussians are in the state of latent zero
        return self.frame(positions).basis(positions)

    @torch.no_grad()
    def frame(self, positions: Tensor) -> Frame:
        """What of the fields at the Gaussians hardly changes while these move a little, worked out at positions (n, 3) A."""
        nearest = self.trunk.nearest(positions)
        if self.mask.numel() or len(self.anchors) != len(positions):
            return Frame(self, nearest, None, None)
        motions = rigid_motions(positions, positions, self.anchor_weights)
        return Frame(self, nearest, motions, fit_of_motions(motions, self.anchor_weights))

    @torch.no_grad()
    def basis(self, points: Tensor, chunk: int = 65536) -> Tensor:
        """U_k at any points (m, 3) A: (K, m, 3) A, without rigid motion and fading out away from the Gaussians. No gradient."""
        at_anchors = self.raw_basis(self.anchors)
        shares = fit_of_motions(rigid_motions(self.anchors, self.anchors, self.anchor_weights), self.anchor_weights)

        def near_gaussians(part: Tensor) -> Tensor:
            """(K, m, 3) at points in the state of latent zero."""
            taper = self.taper(part)
            fields = part.new_zeros(self.n_fields, len(part), 3)
            inside = torch.nonzero(taper).squeeze(1)  # worked out only where the answer counts
            raw = self.raw_basis(part[inside])
            if self.mask.numel():
                raw = raw * self.mobility(part[inside])[:, None]
            else:
                elsewhere = rigid_motions(part[inside], self.anchors, self.anchor_weights)
                raw = without_share(raw, at_anchors, shares, elsewhere)
            fields[:, inside] = raw * taper[inside, None]
            return fields

        return torch.cat([near_gaussians(self._before_reference(part, near_gaussians)) for part in points.split(chunk)], dim=1)

    def _before_reference(self, points: Tensor, basis: Callable[[Tensor], Tensor]) -> Tensor:
        """Where points (m, 3) A of the reference state are in that of latent zero."""
        if not self.has_reference:
            return points
        farthest = float(torch.einsum("k,kmc->mc", self.reference, self.basis_at_gaussians(self.anchors)).norm(dim=1).max())
        # nothing moves farther from the Gaussians than where the fields end and the farthest of them goes
        near = torch.nonzero(self._distance(points, TAPER_END_ANGSTROMS + farthest).isfinite()).squeeze(1)
        return points.index_copy(0, near, before_displacement(points[near], self.reference, basis, self.anchors))

    def taper(self, points: Tensor) -> Tensor:
        """(m,) factor that is 1 near the Gaussians and falls to 0 away from them (raised cosine)."""
        distance = self._distance(points, TAPER_END_ANGSTROMS)
        return raised_cosine(distance, TAPER_START_ANGSTROMS, TAPER_END_ANGSTROMS - TAPER_START_ANGSTROMS)

    def _distance(self, points: Tensor, at_most: float) -> Tensor:
        """(m,) distance in A to the nearest anchor, infinite beyond `at_most`."""
        tree = cKDTree(self.anchors.cpu().numpy())
        distance, _ = tree.query(points.cpu().numpy(), distance_upper_bound=at_most, workers=torch.get_num_threads())
        return torch.from_numpy(distance).to(points)


def before_displacement(points: Tensor, coefficients: Tensor, basis: Callable[[Tensor], Tensor], gaussians: Tensor) -> Tensor:
    """Where points were before they were displaced.

    A domain may have turned by any angle, so that displacements change faster than places do, and nothing but the Gaussians
    around a point tells where it came from. Newton's steps go on from there, with the slope that these have; they are shortened
    where they lead away.

    Parameters
    ----------
    points : (m, 3) A
        After the displacement.
    coefficients : (K,)
        Of the state in which they are.
    basis
        Gives fields (K, m, 3) A at points (m, 3) A.
    gaussians : (n, 3) A
        Places before the displacement, around those that are sought.

    Returns
    -------
    (m, 3) A
    """

    def after(places: Tensor) -> Tensor:
        return places + torch.einsum("k,kmc->mc", coefficients, basis(places))

    before, slope = _carried_back(points, after(gaussians), gaussians)
    off = after(before) - points
    left = torch.arange(len(points), device=points.device)
    for _ in range(REFERENCE_ITERATIONS):
        left = left[off[left].norm(dim=1) > REFERENCE_STEP_ANGSTROMS]
        if not len(left):
            break
        trial = before[left] - torch.einsum("mij,mj->mi", slope[left], off[left])
        off_then = after(trial) - points[left]
        better = off_then.norm(dim=1) < off[left].norm(dim=1)
        before[left[better]], off[left[better]] = trial[better], off_then[better]
        slope[left[~better]] /= 2
    return before


def _carried_back(points: Tensor, moved: Tensor, gaussians: Tensor) -> tuple[Tensor, Tensor]:
    """Where points (m, 3) A come from if they move as the Gaussians (n, 3) around them did, and the slope of that (m, 3, 3)."""
    tree = cKDTree(moved.cpu().numpy())
    count = min(AROUND, len(moved))
    distance, index = tree.query(points.cpu().numpy(), k=range(1, count + 1), workers=torch.get_num_threads())
    distance, index = torch.from_numpy(distance).to(points), torch.from_numpy(index).to(points.device)
    reach = distance[:, -1:].clamp(min=1.0) / 2
    weights = torch.softmax(-0.5 * (distance / reach).square(), dim=1)[:, :, None]
    now, then = moved[index], gaussians[index]  # (m, k, 3)
    middle_now, middle_then = (weights * now).sum(1), (weights * then).sum(1)
    now, then = now - middle_now[:, None], (then - middle_then[:, None]) * weights
    spread = torch.einsum("mki,mkj->mij", now, now * weights)
    # a few Gaussians in a plane say nothing about what lies across it
    stiff = 1e-2 * (1 + spread.diagonal(dim1=1, dim2=2).mean(1))[:, None, None] * torch.eye(3).to(points)
    slope = torch.linalg.solve(spread + stiff, torch.einsum("mki,mkj->mij", then, now) + stiff, left=False)
    return middle_then + torch.einsum("mij,mj->mi", slope, points - middle_now), slope


@dataclass(frozen=True)
class Frame:
    """The basis fields at the Gaussians, free of rigid motion.

    Attributes
    ----------
    field
        Whose fields.
    nearest
        Control points around the Gaussians, see `ControlPoints.nearest`.
    motions : (6, n, 3)
        Rigid motions of the Gaussians; they hardly change while the Gaussians move by a fraction of the molecule. None where
        rigid motions stay in.
    shares : (3 n, 6)
        Their fit, see `fit_of_motions`.
    """

    field: DisplacementField
    nearest: Sequence[Neighbours]
    motions: Tensor | None
    shares: Tensor | None

    def basis(self, positions: Tensor) -> Tensor:
        """U_k at Gaussians (n, 3) A: (K, n, 3) A. Differentiable, by positions too: so each finds the domain it moves with."""
        raw = self.field.raw_basis(positions, self.nearest)
        if self.field.mask.numel():  # what lies outside the mask stands still and fixes the frame
            return raw * self.field.mobility(positions)[:, None]
        if self.motions is None or self.shares is None:
            return raw
        return without_share(raw, raw, self.shares, self.motions)


def rigid_motions(points: Tensor, centre_of: Tensor, weights: Tensor) -> Tensor:
    """The six infinitesimal rigid motions (three shifts, three rotations about a weighted centre) at points: (6, m, 3)."""
    centre = (weights[:, None] * centre_of).sum(0) / weights.sum()
    axes = torch.eye(3, dtype=points.dtype, device=points.device)
    shifts = axes[:, None].expand(3, len(points), 3)
    rotations = torch.cross(axes[:, None].expand(3, len(points), 3), (points - centre).expand(3, -1, 3), dim=2)
    return torch.cat((shifts, rotations / 100.0))  # about 100 A of radius: shifts and rotations of one magnitude


def fit_of_motions(motions: Tensor, weights: Tensor) -> Tensor:
    """(3 n, 6) matrix that gives the weighted least-squares fit of fields (K, n, 3) by motions (6, n, 3)."""
    flat = _flat(motions)
    weighted = _flat(motions * weights[:, None])
    normal = weighted @ flat.T
    normal = normal + 1e-6 * normal.diagonal().mean() * torch.eye(6, dtype=motions.dtype, device=motions.device)
    # solvable by what was added; to ask whether it was would be to wait for a GPU
    shares: Tensor = torch.linalg.solve_ex(normal, weighted).result.T.contiguous()
    return shares


def without_share(fields: Tensor, fitted: Tensor, shares: Tensor, motions: Tensor) -> Tensor:
    """Fields (K, m, 3) less the motions, at their points (6, m, 3), that `fit_of_motions` finds in `fitted` (K, n, 3)."""
    rest: Tensor = torch.addmm(_flat(fields), _flat(fitted) @ shares, _flat(motions), alpha=-1).unflatten(1, (3, -1))
    return rest.transpose(1, 2)


def _flat(vectors: Tensor) -> Tensor:
    """(k, n, 3) -> (k, 3 n), as the fields lie in memory."""
    return vectors.transpose(1, 2).flatten(1)


def _perceptron(n_in: int, width: int, n_hidden: int, n_out: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for layer in range(n_hidden):
        # in place: the slope then follows from the result, without another exponential
        layers += [nn.Linear(n_in if layer == 0 else width, width), nn.ELU(inplace=True)]
    return nn.Sequential(*layers, nn.Linear(width, n_out))
