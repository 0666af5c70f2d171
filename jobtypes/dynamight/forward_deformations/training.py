"""Training of one half set: the epoch, in the open."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from jobtypes.dynamight.forward_deformations.losses import data_misfit, strain
from jobtypes.dynamight.forward_deformations.neighbours import elastic_edges
from jobtypes.dynamight.forward_deformations.noise import ShellPower
from jobtypes.dynamight.forward_deformations.schedule import EpochPlan
from jobtypes.dynamight.model.half_model import HalfModel, Posterior, combine
from jobtypes.dynamight.model.observations import ObservedBatch, Observations
from jobtypes.dynamight.model.projection import Projector

# Learning rates of Adam, each in the unit of its parameters.
RATE_NETWORKS = 1e-3
RATE_POSITIONS_ANGSTROMS = 0.03
RATE_AMPLITUDES = 5e-3
RATE_POSES_SIGMAS = 0.1


@dataclass
class EpochFigures:
    """Sums over the particles of an epoch; `mean` gives them per particle."""

    particles: int = 0
    totals: dict[str, float] = field(default_factory=dict)

    def add(self, particles: int, **sums: Tensor) -> None:
        """Add sums over the particles of a batch."""
        self.particles += particles
        for name, value in sums.items():
            self.totals[name] = self.totals.get(name, 0.0) + float(value)

    def mean(self) -> dict[str, float]:
        """Mean of each figure per particle."""
        return {name: total / max(1, self.particles) for name, total in self.totals.items()}


class HalfTraining:
    """A half set's model, data, optimisers and random numbers; knows nothing of the other half.

    Parameters
    ----------
    model, observations, projector
        What is trained, and on what.
    training, held_out
        Indices (within the half) of the particles that train, and of those that never do.
    batch_size
        Particles per step.
    stiffness
        Weight of the strain term, in log-likelihood units per A^2.
    independent_fraction
        See `losses.data_misfit`.
    refine_poses
        Whether poses may move.
    generator
        This half's random numbers, on the CPU.
    """

    def __init__(
        self,
        model: HalfModel,
        observations: Observations,
        projector: Projector,
        *,
        training: Tensor,
        held_out: Tensor,
        batch_size: int,
        stiffness: float,
        independent_fraction: float,
        refine_poses: bool,
        learning_rate: float,
        generator: torch.Generator,
    ) -> None:
        self.model, self.observations, self.projector = model, observations, projector
        self.training, self.held_out, self.batch_size = training, held_out, batch_size
        self.stiffness, self.independent_fraction = stiffness, independent_fraction
        self.refine_poses, self.learning_rate, self.generator = refine_poses, learning_rate, generator
        g = model.gaussians
        self.networks = torch.optim.Adam(
            [
                {"params": [*model.field.parameters(), *model.encoder.parameters()], "rate": RATE_NETWORKS},
                {"params": [g.positions], "rate": RATE_POSITIONS_ANGSTROMS},
                {"params": [g.raw_amplitudes, g.log_scale, g.log_widths, g.width_logits], "rate": RATE_AMPLITUDES},
            ],
            lr=RATE_NETWORKS,
        )
        self.poses = torch.optim.SparseAdam(list(model.poses.parameters()), lr=RATE_POSES_SIGMAS)
        n = len(observations)
        n_latent = model.encoder.mean.out_features
        # posterior of every particle, as of the last time it was seen
        self.latent_mean = torch.zeros(n, n_latent)
        self.latent_log_variance = torch.zeros(n, n_latent)
        self.motion_power = torch.zeros(len(g.positions))  # (n,) running mean squared displacement of each Gaussian, A^2

    def run_epoch(self, plan: EpochPlan, after_batch: Callable[[int], None]) -> dict[str, float]:
        """Visit every training particle once; returns means per particle."""
        self.model.train()
        self._set_learning_rates(plan)
        n_terms = self.observations.band.n_terms(plan.resolution_angstroms)
        edges = elastic_edges(self.model.gaussians.positions, self.generator)
        self._update_anchors()
        power = ShellPower(len(self.model.noise_power), self.observations.band)
        figures = EpochFigures()
        order = self.training[torch.randperm(len(self.training), generator=self.generator)]
        for step, index in enumerate(order.split(self.batch_size)):
            batch = self.observations.batch(index)
            shuffled = torch.roll(edges, -step * 2 * len(self.motion_power), dims=0)
            losses, residual = self._losses(batch, plan, n_terms, shuffled[: 2 * len(self.motion_power)])
            objective = losses["data"] + plan.kl_weight * losses["kl"] + self.stiffness * losses["strain"] + losses["pose"]
            self._step(objective.mean())
            power.add(residual, batch.group)
            figures.add(len(index), loss=objective.detach().sum(), **{k: v.detach().sum() for k, v in losses.items()})
            after_batch(len(index))
        self.model.noise_power.copy_(power.update(self.model.noise_power, share=0.5))
        return figures.mean()

    def _losses(self, batch: ObservedBatch, plan: EpochPlan, n_terms: int, edges: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Every term of the objective (b,), and the residual (b, q)."""
        model, band = self.model, self.observations.band
        matrices, shifts, pose_penalty = model.poses(batch.index, batch.matrices, batch.shifts)
        positions = model.gaussians.positions[None]
        zero = pose_penalty.new_zeros(len(batch.index))
        losses = {"kl": zero, "strain": zero, "pose": pose_penalty}
        if plan.deforms:
            posterior = model.encode(batch, self.projector, n_terms)
            coefficients = model.field.coefficients(posterior.sample(self.generator))
            basis = model.field.basis_at_gaussians(model.gaussians.positions)
            moved = combine(coefficients, basis)  # (b, n, 3)
            positions = positions + moved
            losses["kl"] = posterior.divergence()
            losses["strain"] = strain(coefficients, basis, model.gaussians.positions, edges)
            self._remember(batch, posterior, moved)
        predicted = batch.ctf[:, :n_terms] * model.project(positions, matrices, shifts, self.projector, n_terms)
        observed = batch.spectra[:, :n_terms]
        precision = model.precision(batch, band, n_terms)
        losses["data"] = data_misfit(observed, predicted, precision, band.weights[:n_terms], self.independent_fraction)
        return losses, (observed - predicted).detach()

    def _step(self, objective: Tensor) -> None:
        self.networks.zero_grad(set_to_none=True)
        self.poses.zero_grad(set_to_none=True)
        objective.backward()
        self.networks.step()
        if self.refine_poses:
            self.poses.step()

    def _set_learning_rates(self, plan: EpochPlan) -> None:
        factor = self.learning_rate * plan.learning_rate
        for group in self.networks.param_groups:
            group["lr"] = group["rate"] * factor
        for group in self.poses.param_groups:
            group["lr"] = RATE_POSES_SIGMAS * factor

    def _remember(self, batch: ObservedBatch, posterior: Posterior, moved: Tensor) -> None:
        self.latent_mean[batch.index] = posterior.mean.detach().cpu()
        self.latent_log_variance[batch.index] = posterior.log_variance.detach().cpu()
        share = 0.05
        self.motion_power.mul_(1 - share).add_(share * moved.detach().square().sum(2).mean(0).cpu())

    def _update_anchors(self) -> None:
        """Let the parts that move least define "no rigid motion of the whole"."""
        g = self.model.gaussians
        # a weight that falls with the motion keeps a large moving domain from dragging the frame along
        weights = g.amplitudes.detach() / (1 + self.motion_power.to(g.positions))
        self.model.field.set_anchors(g.positions, weights)

    @torch.no_grad()
    def held_out_misfit(self, plan: EpochPlan) -> float:
        """Mean data misfit and divergence of the held-out particles: minus the evidence bound, at the posterior mean."""
        self.model.eval()
        n_terms = self.observations.band.n_terms(plan.resolution_angstroms)
        figures = EpochFigures()
        for index in self.held_out.split(self.batch_size):
            batch = self.observations.batch(index)
            model = self.model
            posterior = model.encode(batch, self.projector, n_terms)
            positions = model.gaussians.positions[None]
            if plan.deforms:
                positions = positions + model.displacement(posterior.mean)
            matrices, shifts, _ = model.poses(batch.index, batch.matrices, batch.shifts)
            predicted = batch.ctf[:, :n_terms] * model.project(positions, matrices, shifts, self.projector, n_terms)
            precision = model.precision(batch, self.observations.band, n_terms)
            weights = self.observations.band.weights[:n_terms]
            misfit = data_misfit(batch.spectra[:, :n_terms], predicted, precision, weights, self.independent_fraction)
            figures.add(len(index), misfit=misfit.sum())
        return figures.mean().get("misfit", float("nan"))

    @torch.no_grad()
    def encode_all(self, plan: EpochPlan) -> None:
        """Posterior of every particle, held-out ones too, under the present model."""
        self.model.eval()
        n_terms = self.observations.band.n_terms(plan.resolution_angstroms)
        for index in torch.arange(len(self.observations)).split(self.batch_size):
            posterior = self.model.encode(self.observations.batch(index), self.projector, n_terms)
            self.latent_mean[index] = posterior.mean.cpu()
            self.latent_log_variance[index] = posterior.log_variance.cpu()
