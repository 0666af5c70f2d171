"""States found anew, each from the one beside it, outward from the consensus: large motions without confusion.

What is fitted to all states at once tells where density is, not which density it is. Of a domain that turns far, each Gaussian
goes to whichever part of the domain is nearest, so that the domain flows into its new place where it should turn, and no small
step leads from there to the turn. Between neighbouring states the way is short, and which Gaussian goes where is plain. So the
states of a training, of which the latents tell who is in which, are fitted one after the other to the images of their own
particles, each beginning where its neighbour ended; the elastic network measures lengths, which a turn keeps, however far it
goes. The fields and their coefficients then take over what was found. Source of such an order: non-rigid tracking from frame to
frame (as in Sumner et al. 2007); here time is a tree of states.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from scipy.sparse.csgraph import breadth_first_order, minimum_spanning_tree
from sklearn.cluster import KMeans
from torch import Tensor

from jobtypes.dynamight.forward_deformations.losses import strain
from jobtypes.dynamight.forward_deformations.neighbours import ElasticGraph
from jobtypes.dynamight.forward_deformations.schedule import EpochPlan
from jobtypes.dynamight.model.control_points import ControlPoints, Neighbours
from jobtypes.dynamight.model.deformed import Deformed
from jobtypes.dynamight.model.observations import ObservedBatch

if TYPE_CHECKING:
    from jobtypes.dynamight.forward_deformations.training import HalfTraining

# Detail by which a state is followed: finer one is ambiguous, coarser one does not tell how a domain is turned.
RESOLUTION_ANGSTROMS = 10.0
# Particles whose states are found, those that stand for one state, and states.
SAMPLE, FEWEST_OF_A_STATE, MOST_OF_A_STATE, MOST_STATES = 2000, 20, 48, 48
# Steps by which a state is found from its neighbour's; together they go about as far as the detail is wide.
STEPS = 40
FIRST_STEP, LAST_STEP = RESOLUTION_ANGSTROMS / 20, RESOLUTION_ANGSTROMS / 200
MOMENTA = (0.8, 0.95)  # shorter than Adam's own: the way is
# Steps in which the branch learns the coefficients of all states, each on so many particles.
LESSONS, LESSON_PARTICLES, LESSON_RATE = 600, 256, 3e-3
# At most so many held-out particles judge, and they must be explained better by so many standard errors.
MOST_JUDGES, CLEARLY = 200, 2.0


@dataclass(frozen=True)
class StateTree:
    """States of many particles, and from which neighbour each is reached.

    Attributes
    ----------
    members
        Of each state: indices (within the half) of particles.
    centres : (s, c)
        In coordinates of motion, A.
    order
        States, the one in which the consensus is first, each after the one from which it is reached.
    reached_from
        For each state its neighbour towards the first; -1 for the first.
    """

    members: list[Tensor]
    centres: Tensor
    order: list[int]
    reached_from: list[int]

    @classmethod
    def of(cls, coordinates: Tensor, particles: Tensor) -> StateTree:
        """States of particles (p,) with coordinates of motion (p, c) A; the consensus is at the origin."""
        count = max(1, min(MOST_STATES, len(particles) // FEWEST_OF_A_STATE))
        clusters = KMeans(count, n_init=1, random_state=0).fit(coordinates.cpu().double().numpy())
        centres = torch.from_numpy(clusters.cluster_centers_)
        tree = minimum_spanning_tree(torch.cdist(centres, centres).numpy())
        order, before = breadth_first_order(tree + tree.T, int(centres.norm(dim=1).argmin()), directed=False)
        labels = torch.from_numpy(clusters.labels_)
        return cls(
            [particles[labels == state] for state in range(count)],
            centres.to(coordinates),
            [int(state) for state in order],
            [max(-1, int(state)) for state in before],
        )

    def shares(self) -> Tensor:
        """(s,) of the particles that are in each state, as parts of 1."""
        counts = torch.tensor([float(len(members)) for members in self.members])
        return counts / counts.sum()

    def blended(self, values: Tensor, coordinates: Tensor) -> Tensor:
        """(p, k) for particles with coordinates (p, c) A: values (s, k) of the states around each; the nearest counts most."""
        apart = torch.cdist(self.centres, self.centres).fill_diagonal_(math.inf).amin(1)
        width = apart[apart.isfinite()].median() if len(apart) > 1 else apart.new_ones(())
        weights = torch.softmax(-2 * (torch.cdist(coordinates, self.centres) / width).square(), dim=1)
        blended: Tensor = weights @ values
        return blended


class Retracing:
    """Finds the states of a half set anew, and gives them to its model if held-out particles agree.

    Parameters
    ----------
    training
        Of the half set; its consensus is a state that particles have.
    sample : (p,)
        Training particles whose states are well known.
    plan
        Of the epoch.
    """

    def __init__(self, training: HalfTraining, sample: Tensor, plan: EpochPlan) -> None:
        self._training, self._sample, self._model = training, sample, training.model
        self._stiffness = training.full_stiffness
        self._n_terms = training.observations.band.n_terms(max(RESOLUTION_ANGSTROMS, plan.resolution_angstroms))
        self._positions = self._model.gaussians.positions.detach().clone()
        self._graph = ElasticGraph.of(self._positions, training.generator)

    def run(self) -> bool:
        """Find the states and, where held-out particles are explained better, take them over; returns whether they are."""
        with torch.no_grad():
            coordinates = self._coordinates(self._sample)
            tree = StateTree.of(coordinates, self._sample)
            former = self._former_states(tree)
        found = self._states(tree)
        if not self._is_better(tree, former, found):
            return False
        self._take_over(tree, found, coordinates)
        return True

    def _coordinates(self, particles: Tensor) -> Tensor:
        """(p, K) of the deformations of particles: distances between these are rms displacements of the density, A."""
        coefficients = self._model.field.coefficients(self._training.kept(particles).mean).double()
        size, axes = torch.linalg.eigh(self._model.metric())
        coordinates: Tensor = coefficients @ axes * size.clamp(min=0).sqrt()
        return coordinates.float()

    def _former_states(self, tree: StateTree) -> Tensor:
        """(s, n, 3) A: mean displacement of the particles of each state in the model as it is."""
        basis = self._model.field.basis_at_gaussians(self._positions)
        means = [self._model.field.coefficients(self._training.kept(members).mean).mean(0) for members in tree.members]
        return torch.einsum("sk,knc->snc", torch.stack(means), basis)

    def _states(self, tree: StateTree) -> Tensor:
        """(s, n, 3) A: displacement of each state from where the Gaussians are, found from its neighbour's."""
        field = ControlPoints.around(self._positions, 3).to(self._positions)
        nearest = field.nearest(self._positions)
        at_rest = [torch.zeros_like(level.values) for level in field.levels]
        held: dict[int, list[Tensor]] = {}
        found = self._positions.new_zeros(len(tree.members), *self._positions.shape)
        for state in tree.order:
            with torch.no_grad():
                for level, values in zip(field.levels, held.get(tree.reached_from[state], at_rest), strict=True):
                    level.values.copy_(values)
            self._fit(field, nearest, tree.members[state])
            held[state] = [level.values.detach().clone() for level in field.levels]
            found[state] = field(self._positions, nearest).detach()
        return found

    def _fit(self, field: ControlPoints, nearest: Sequence[Neighbours], members: Tensor) -> None:
        """Fit a field, from what it holds, to the images of some of the members of a state, step by step."""
        share, generator = self._training.share, self._training.generator
        chosen = members[torch.randperm(len(members), generator=generator)[:MOST_OF_A_STATE]]
        batch = self._batch(share.of(chosen))
        optimiser = torch.optim.Adam(field.parameters(), betas=MOMENTA)
        for step in range(STEPS):
            _set_rate(optimiser, FIRST_STEP + (LAST_STEP - FIRST_STEP) * step / STEPS)
            moved, edges = field(self._positions, nearest), self._graph.drawn(generator)
            stretched = strain(self._points(moved, 1), edges, self._training.projector.backend).sum() / share.crew.count
            objective = self._stiffness * stretched + (0 if batch is None else self._misfit(moved, batch).sum() / len(chosen))
            optimiser.zero_grad(set_to_none=True)
            objective.backward()
            share.crew.sum_(*(value.grad for value in field.parameters() if value.grad is not None))
            optimiser.step()

    def _batch(self, own: Tensor) -> ObservedBatch | None:
        return self._training.observations.batch(own, self._n_terms) if len(own) else None

    def _points(self, displacement: Tensor, count: int) -> Deformed:
        """The Gaussians of so many particles, all with one displacement (n, 3) A."""
        return Deformed(self._positions, displacement.new_ones(count, 1), displacement[None])

    def _misfit(self, displacement: Tensor, batch: ObservedBatch) -> Tensor:
        """(b,) minus the log likelihood, each by its quality, of images with the Gaussians displaced by (n, 3) A."""
        points = self._points(displacement, len(batch.index))
        return self._training.weighted_misfit(points, batch, self._n_terms)

    @torch.no_grad()
    def _is_better(self, tree: StateTree, former: Tensor, found: Tensor) -> bool:
        """Whether held-out particles, each in whichever state, are clearly better explained by those found than by the former."""
        judges = self._model.quality.good(self._training.held_out)[:MOST_JUDGES].cpu()
        if not len(judges):
            return True
        share = self._training.share
        batch = self._batch(share.of(judges))
        of_own = [] if batch is None else [self._evidence(tree, found, batch) - self._evidence(tree, former, batch)]
        gain = share.gathered(judges, of_own).double()
        return float(gain.mean()) > CLEARLY * float(gain.std()) / math.sqrt(len(gain))

    def _evidence(self, tree: StateTree, states: Tensor, batch: ObservedBatch) -> Tensor:
        """(b,) log likelihood of images of which nothing is known but how many particles are in each state (s, n, 3) A."""
        misfits = torch.stack([self._misfit(state, batch) for state in states], dim=1)
        return torch.logsumexp(tree.shares().log().to(misfits) - misfits, dim=1)

    def _take_over(self, tree: StateTree, found: Tensor, coordinates: Tensor) -> None:
        """Give the states to the model: Gaussians to the first of them, the fields to the main differences, the branch to all."""
        model, from_first = self._model, found - found[tree.order[0]]
        shares, amplitudes = tree.shares().to(found), model.gaussians.amplitudes.detach()
        fields, coefficients = main_fields(from_first, shares, amplitudes, model.field.n_fields)
        with torch.no_grad():
            model.gaussians.positions.add_(found[tree.order[0]])
        model.field.hold(fields, model.gaussians.positions.detach())
        self._teach(tree.blended(coefficients, coordinates))

    def _teach(self, wanted: Tensor) -> None:
        """Let the branch give the particles of the sample the coefficients (p, K) that are wanted."""
        field, latents = self._model.field, self._training.kept(self._sample).mean
        optimiser = torch.optim.Adam(field.branch.parameters())
        for step in range(LESSONS):
            _set_rate(optimiser, LESSON_RATE * (1 - step / LESSONS))
            some = torch.randint(len(latents), (LESSON_PARTICLES,), generator=self._training.generator).to(latents.device)
            optimiser.zero_grad(set_to_none=True)
            (field.coefficients(latents[some]) - wanted[some]).square().sum(1).mean().backward()
            optimiser.step()


def _set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = rate


def main_fields(states: Tensor, shares: Tensor, weights: Tensor, n_fields: int) -> tuple[Tensor, Tensor]:
    """At most so many fields (K, n, 3) A, and coefficients (s, K) of unit mean square, whose sums are nearest to states.

    Parameters
    ----------
    states : (s, n, 3) A
        Displacements.
    shares : (s,)
        How many particles are in each, as parts of 1.
    weights : (n,)
        By which Gaussians count.
    n_fields
        K; fields beyond the rank of the states are zero.
    """
    by_state, by_gaussian = shares.double().sqrt()[:, None, None], (weights.double() / weights.sum()).sqrt()[:, None]
    left, size, _ = torch.linalg.svd((states.double() * by_state * by_gaussian).flatten(1), full_matrices=False)
    count = min(n_fields, int((size > 1e-6 * size[0]).sum()))
    coefficients = left[:, :count] / by_state[:, :, 0]
    fields = torch.einsum("sk,s,snc->knc", coefficients, shares.double(), states.double())
    whole_fields, whole_coefficients = (
        fields.new_zeros(n_fields, *states.shape[1:]),
        coefficients.new_zeros(len(states), n_fields),
    )
    whole_fields[:count], whole_coefficients[:, :count] = fields, coefficients
    return whole_fields.to(states), whole_coefficients.to(states)
