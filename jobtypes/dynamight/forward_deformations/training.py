"""Training of one half set: epochs and their batches, in the open (`HalfTraining.run`)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from jobtypes.common.devices import copied_to
from jobtypes.dynamight.forward_deformations.dealing import dealt_order
from jobtypes.dynamight.forward_deformations.epoch_progress import EpochProgress
from jobtypes.dynamight.forward_deformations.judging import FirstJudgement, shell_sums
from jobtypes.dynamight.forward_deformations.large_motions import follow_large_motions
from jobtypes.dynamight.forward_deformations.losses import change_of_length, data_misfit, strain
from jobtypes.dynamight.forward_deformations.neighbours import ElasticGraph
from jobtypes.dynamight.forward_deformations.noise import ShellPower
from jobtypes.dynamight.forward_deformations.occupancy import find_parts
from jobtypes.dynamight.forward_deformations.pace import Pace
from jobtypes.dynamight.forward_deformations.schedule import EpochPlan
from jobtypes.dynamight.forward_deformations.step_sums import StepSums
from jobtypes.dynamight.model.deformed import Deformed, mean_squared_displacement
from jobtypes.dynamight.model.displacement import Frame
from jobtypes.dynamight.model.half_model import OF_PARTICLES, HalfModel, Posterior
from jobtypes.dynamight.model.inference import estimate_poses
from jobtypes.dynamight.model.observations import Observations, ObservedBatch
from jobtypes.dynamight.model.poses import corrected
from jobtypes.dynamight.model.projection import Projector
from jobtypes.dynamight.model.quality import QualitySums
from relion_jobs.contract.errors import JobFailed

# Learning rates of Adam, each in the unit of its parameters.
RATE_NETWORKS = 2e-3
RATE_FIELD_ANGSTROMS = 2e-2
RATE_POSITIONS_ANGSTROMS = 0.03
RATE_AMPLITUDES = 5e-3
RATE_POSES = 0.3  # of a Newton step
# Particles whose poses tell, at the beginning of an epoch, how far poses are off, the weight of what they tell, and how many
# visits later others are asked.
POSE_SAMPLE, POSE_SHARE, POSE_PRIOR_VISITS = 48, 0.3, 4000
# Particles of a batch whose strain counts for all of them, and those that tell, at the beginning of an epoch, where it is soft.
STRAIN_SAMPLE, SOFTNESS_SAMPLE = 16, 64
# Particles that are looked at before the first step until it is asked whether to leave.
JUDGED_TOGETHER = 1024
# Of a batch, in the order of the log.
FIGURES = ("loss", "kl", "strain", "pose", "data", "quality")
# Of this many steps the running mean of the motion remembers the most.
MOTION_MEMORY_STEPS = 20


@dataclass(frozen=True)
class TrainingSettings:
    """What shapes the training of a half set, beside its data.

    Attributes
    ----------
    batch_size
        Particles per step.
    stiffness
        Weight of the strain, in log-likelihood units per A^2; where it is learned, that of the beginning.
    learns_stiffness
        Whether held-out particles may change it, see `stiffness`.
    independent_fraction
        See `losses.data_misfit`.
    refine_poses
        Whether poses may move.
    learning_rate
        Factor on all learning rates.
    n_epochs, most_epochs
        Of the plan, and with those that are done again; see `pace`.
    """

    batch_size: int
    stiffness: float
    learns_stiffness: bool
    independent_fraction: float
    refine_poses: bool
    learning_rate: float
    n_epochs: int
    most_epochs: int


@dataclass(frozen=True)
class Draws:
    """The random choices of a step, drawn for the whole batch by every process that works on it, so that these stay in step.

    Attributes
    ----------
    latents : (b, d)
        Standard normal numbers of the own particles.
    edges : (e, 2)
        Pairs of Gaussians whose strain is measured.
    strained
        How many of the own particles, from the first on, are among those whose strain counts for the whole batch.
    strain_weight
        Particles of the batch for each of these.
    """

    latents: Tensor
    edges: Tensor
    strained: int
    strain_weight: float


class HalfTraining:
    """A half set's model, data, optimisers and random numbers; knows nothing of the other half.

    Several processes may train it together, each with the images of its own particles (`Observations.share`). What belongs to
    single particles has entries for all of them in every process, but between two `exchange` only the own ones are true.

    Parameters
    ----------
    model, observations, projector
        What is trained, and on what.
    training, held_out : (p,), (m,)
        Indices (within the half) of the particles that train, and of those that never do.
    settings
        How.
    generator
        This half's random numbers, on the CPU.

    Attributes
    ----------
    epochs_done
        Whole epochs.
    judged
        Particles of the half set, from the first on, that have been looked at before the first step.
    pace
        Where it is in the plan.
    latent_mean, latent_log_variance : (n_h, d)
        Posterior of every particle as of the last time it was seen, on the compute device.
    graph
        Neighbours for the strain.
    pose_prior_is_due
        Whether nothing is known yet of how far the poses of these images are off.
    is_retraced
        Whether its states were found anew from the consensus, see `retracing`.
    learned_stiffness
        Weight of the strain over that of the beginning, see `stiffness`.
    motion_power : (n,)
        Running mean of each Gaussian's squared displacement, A^2; of all training particles at the end.
    progress
        How far the epoch under way is; None between epochs.
    """

    def __init__(
        self,
        model: HalfModel,
        observations: Observations,
        projector: Projector,
        *,
        training: Tensor,
        held_out: Tensor,
        settings: TrainingSettings,
        generator: torch.Generator,
    ) -> None:
        self.model, self.observations, self.projector = model, observations, projector
        self.training, self.held_out = training, held_out
        self.settings, self.generator = settings, generator
        g = model.gaussians
        self.share = observations.share
        self.networks = _optimiser(model)
        self._sums = StepSums(self.share.crew, _parameters(self.networks))
        n_latent = model.encoder.mean.out_features
        # posterior of every particle, as of the last time it was seen
        self.latent_mean = torch.zeros(len(observations), n_latent, device=observations.device)
        self.latent_log_variance = torch.zeros_like(self.latent_mean)
        self.motion_power = torch.zeros(len(g.positions), device=observations.device)  # (n,) mean squared displacement, A^2
        self.graph = ElasticGraph.of(g.positions, generator)
        self.pose_prior_is_due = True
        self.is_retraced = False
        self.learned_stiffness = 1.0
        self.epochs_done = self.judged = 0
        self.pace = Pace(settings.n_epochs, settings.most_epochs)
        self.progress: EpochProgress | None = None

    def rms_motion(self) -> float:
        """Rms displacement of the density (Gaussians by their amplitude), A; see `motion_power`."""
        amplitudes = self.model.gaussians.amplitudes.detach()
        return float(((amplitudes * self.motion_power).sum() / amplitudes.sum()).sqrt())

    @property
    def full_stiffness(self) -> float:
        """Weight of the strain as it is known now, in log-likelihood units per A^2."""
        return self.settings.stiffness * self.learned_stiffness

    def stiffness(self, plan: EpochPlan) -> float:
        """The part of it that counts in an epoch."""
        return plan.stiffness * self.full_stiffness

    @property
    def visits(self) -> int:
        """Training particles seen so far, in all epochs."""
        return self.epochs_done * len(self.training) + (self.progress.seen if self.progress else 0)

    def run(self, plans: Iterable[EpochPlan], leave: Callable[[], bool]) -> Iterator[dict[str, float] | None]:
        """Train: one epoch for each plan, in which every training particle is visited once.

        Yields the figures per particle of each epoch at its end. `leave` is asked after every batch; where it says so, None is
        yielded in the midst of the epoch. Whoever asks for more, or runs the same plan again, goes on where it was left.

        Raises
        ------
        JobFailed
            The objective of a batch is not finite; that batch has touched no parameter.
        """
        for plan in plans:
            self.model.train()
            n_terms = self.observations.band.n_terms(plan.resolution_angstroms)
            while not self.look_at_all(plan, n_terms, leave):
                yield None
            progress = self.progress or self._begin_epoch(plan, n_terms)
            self._set_learning_rates(plan)
            frame = self.model.field.frame(self.model.field.anchors)  # where the epoch found the Gaussians
            for index in self._batches_left(progress):
                self._learn(index, plan, progress, n_terms, frame)
                if self._sums.leaves(leave()) and progress.seen < len(progress.order):
                    yield None
            yield self._end_epoch(progress, n_terms)

    def run_epoch(self, plan: EpochPlan, leave: Callable[[], bool]) -> dict[str, float] | None:
        """`run` a single epoch, or the rest of it where it was left: its figures; None where it is left (again)."""
        return next(self.run([plan], leave))

    def _batches_left(self, progress: EpochProgress) -> Iterator[Tensor]:
        while progress.seen < len(progress.order):
            yield progress.order[progress.seen : progress.seen + self.settings.batch_size]

    def _learn(self, index: Tensor, plan: EpochPlan, progress: EpochProgress, n_terms: int, frame: Frame) -> None:
        """Take one step on a batch of particles (b,), of which each process works out its own, and count it."""
        draws = self._draws(index) if plan.deforms else None
        own = self.share.of(index)
        place = copied_to(own, self.observations.device)
        corrections = self.model.poses.corrections[place].requires_grad_(self.settings.refine_poses)
        figures, motion = self._of_nothing(plan)
        if len(own):  # where an epoch ends, not every process has one
            batch = self.observations.batch(own, n_terms)
            quality = self.model.quality.probability[batch.index]  # of before this step
            losses, parts, residual_power, motion = self._losses(batch, corrections, plan, n_terms, frame, draws)
            objective = losses["data"] + plan.kl_weight * losses["kl"] + self.stiffness(plan) * losses["strain"] + losses["pose"]
            progress.residual_power.add_sums(residual_power, batch.group, quality * batch.seen)
            progress.qualities.add(*self.judge(batch, parts.detach(), n_terms))
            figures = {"loss": objective, **losses, "quality": quality}
        progress.add(len(index), self._step(index, corrections, figures, motion, plan))

    def _draws(self, index: Tensor) -> Draws:
        """The random choices of a step on a batch (b,)."""
        places, sample = self.share.places(index), min(len(index), STRAIN_SAMPLE)
        latents = torch.randn(len(index), self.latent_mean.shape[1], generator=self.generator)
        strained = int((places < sample).sum())
        own = copied_to(latents[places], self.observations.device)
        return Draws(own, self.graph.drawn(self.generator), strained, len(index) / sample)

    def _of_nothing(self, plan: EpochPlan) -> tuple[dict[str, Tensor], Tensor | None]:
        """Figures and motion of no particle in a step."""
        none = torch.zeros(0, device=self.observations.device)
        return dict.fromkeys(FIGURES, none), torch.zeros_like(self.motion_power) if plan.deforms else None

    def judge(self, batch: ObservedBatch, parts: Tensor, n_terms: int) -> tuple[Tensor, Tensor]:
        """Work out quality, scale and missing parts of a batch from its projections in parts (b, 1 + R, q) without CTF.

        Returns what to `QualitySums.add`.
        """
        model, fraction, band = self.model, self.settings.independent_fraction, self.observations.band
        projected = model.parts.assembled(parts, batch.index)
        sums = shell_sums(model, band, batch, projected, n_terms=n_terms, independent_fraction=fraction)
        model.judge_parts(batch, parts, band, n_terms=n_terms, independent_fraction=fraction)
        return model.quality.judge(batch.index, sums)

    def learn_quality(self, sums: QualitySums, n_terms: int) -> None:
        """Take what the judgements of many particles, by their first terms, say about all."""
        terms = torch.zeros_like(self.model.quality.typical)
        self.model.quality.learn(sums, terms.index_add_(0, self.observations.band.shells[:n_terms], self._weights(n_terms)))

    def _end_epoch(self, progress: EpochProgress, n_terms: int) -> dict[str, float]:
        """Learn the noise from what is left of the images, and how qualities scatter; returns the figures per particle."""
        progress.add_up(self.share.crew)
        self.exchange()
        self._sums.forget()
        before = self.model.noise_power.clone()
        self.model.noise_power.copy_(progress.residual_power.update(before, share=0.5))
        self.learn_quality(progress.qualities, n_terms)
        self.model.parts.learn(self.model.quality.good(self.training))
        self.model.quality.follow_noise(before, self.model.noise_power)
        if not torch.stack([tensor.isfinite().all() for tensor in self.model.state_dict().values()]).all():
            raise self._diverged()  # before it is saved
        self.progress = None
        self.epochs_done += 1
        return progress.means()

    def _diverged(self) -> JobFailed:
        return JobFailed(
            f"The objective became infinite in epoch {self.epochs_done + 1}; the last good checkpoint is kept. "
            "Run it again with a smaller learning_rate."
        )

    def _begin_epoch(self, plan: EpochPlan, n_terms: int) -> EpochProgress:
        g = self.model.gaussians
        # a mask is of the consensus that was given
        moves_far = plan.remakes_consensus and not self.model.field.mask.numel() and follow_large_motions(self, plan)
        # a particle that is put into a state far from its own looks as if it lacked what moves
        if plan.looks_for_parts and not moves_far:
            find_parts(self, plan)
        # the parts that move least define "no rigid motion of the whole": a weight that falls with the motion keeps a large
        # moving domain from dragging the frame along
        self.model.field.set_anchors(g.positions, g.amplitudes.detach() / (1 + self.motion_power))
        self.graph = self.graph.renewed(g.positions, self.generator)
        if plan.deforms:
            self.graph = self.graph.softened(self._strain_of_edges())
        if self.settings.refine_poses and self._pose_prior_is_due():
            self._learn_pose_prior(plan, n_terms)
            self.pose_prior_is_due = False
        self.progress = EpochProgress(
            order=dealt_order(self.training, self.settings.batch_size, self.generator),
            residual_power=ShellPower(len(self.model.noise_power), self.observations.band),
            qualities=QualitySums.none(len(self.model.quality.typical), self.observations.device),
            totals={},
        )
        return self.progress

    def begin_anew(self) -> None:
        """Forget what belongs to control points and fields that are no more: slopes of before, and how far Gaussians moved."""
        self.networks = _optimiser(self.model)
        self._sums = StepSums(self.share.crew, _parameters(self.networks))
        self.set_motion_power()

    @torch.no_grad()
    def set_motion_power(self) -> None:
        """Work out the motion power anew, of all training particles that are the molecule."""
        latents = self.kept(self.model.quality.good(self.training)).mean
        basis = self.model.field.basis_at_gaussians(self.model.gaussians.positions)
        self.motion_power.copy_(mean_squared_displacement(self.model.field.coefficients(latents), basis))

    @torch.no_grad()
    def _strain_of_edges(self) -> Tensor:
        """(e,) squared change of length, A^2, mean over a sample of the training particles as they were seen last."""
        sample = self.kept(self.good_sample(SOFTNESS_SAMPLE)).mean
        return change_of_length(self.model.deformed(sample), self.graph.edges)

    def good_sample(self, count: int) -> Tensor:
        """At most so many of the training particles that are the molecule, drawn anew each time."""
        training = self.model.quality.good(self.training)
        return training[torch.randperm(len(training), generator=self.generator)[:count]]

    def look_at_all(self, plan: EpochPlan, n_terms: int, leave: Callable[[], bool]) -> bool:
        """Look at all particles before the first step; returns whether that is done, False where it is left."""
        n_particles = len(self.observations)
        if self.judged == n_particles:
            return True
        first = FirstJudgement(
            self.model,
            self.observations,
            self.projector,
            n_terms=n_terms,
            independent_fraction=self.settings.independent_fraction,
            latents=self.latent_mean if self.epochs_done and plan.deforms else None,
        )
        if not self.model.quality.is_ready:
            first.settle(self.training)
        while self.judged < n_particles:
            index = torch.arange(self.judged, min(self.judged + JUDGED_TOGETHER, n_particles))
            first.judge(index)
            self.judged += len(index)
            if self.judged < n_particles and self.share.crew.any_of(leave()):
                return False
        self.exchange()
        return True

    def _pose_prior_is_due(self) -> bool:
        """In the first epoch, and in every one that completes so many more visits."""
        before = max(0, self.epochs_done - 1) * len(self.training)
        return self.pose_prior_is_due or self.visits // POSE_PRIOR_VISITS > before // POSE_PRIOR_VISITS

    def _learn_pose_prior(self, plan: EpochPlan, n_terms: int) -> None:
        """Curvature of the poses' likelihood, and how far poses are off, from a sample of the training particles."""
        sample, parts = self.good_sample(POSE_SAMPLE), []
        for index in self.share.batches(sample, self.settings.batch_size):
            batch = self.observations.batch(index, n_terms)
            parts.append(
                estimate_poses(
                    self.model,
                    batch,
                    self.kept(index).mean,
                    self.projector,
                    n_terms=n_terms,
                    independent_fraction=self.settings.independent_fraction,
                    prior_weight=plan.kl_weight,
                )
            )
        of_all = [self.share.gathered(sample, [part[place] for part in parts]) for place in range(3)]
        estimates, variances, curvatures = (values.to(self.observations.device) for values in of_all)
        self.model.poses.learn_prior(estimates, variances, curvatures.mean(0), share=POSE_SHARE if plan.deforms else 0.0)

    def _losses(
        self,
        batch: ObservedBatch,
        corrections: Tensor,
        plan: EpochPlan,
        n_terms: int,
        frame: Frame,
        draws: Draws | None,
    ) -> tuple[dict[str, Tensor], Tensor, Tensor, Tensor | None]:
        """Every term of the objective (b,), the projections in parts (b, 1 + R, q), power of residuals (groups, q), motion (n,).

        Terms, power and motion count each particle by its quality, as it was before this step. The motion is the sum of squared
        displacements, A^2. Without `draws` nothing deforms.
        """
        model = self.model
        quality = model.quality.probability[batch.index]
        matrices, shifts = corrected(corrections, batch.matrices, batch.shifts, batch.views)
        pose_penalty = model.poses.penalty(corrections)
        points = model.at_rest(len(batch.index))
        zero = pose_penalty.new_zeros(len(batch.index))
        losses = {"kl": zero, "strain": zero, "pose": quality * pose_penalty}
        motion = None
        if draws is not None:
            posterior = model.encode(batch, self.projector, n_terms, (matrices.detach(), shifts.detach()))
            points = model.deformed(posterior.sample(draws.latents), frame.basis(model.gaussians.positions))
            losses["kl"] = quality * posterior.divergence()
            losses["strain"] = quality * self._strain(points, draws)
            self.keep(batch.index, posterior)
            motion = _motion(points, quality)
        parts = model.project_parts(points, matrices, shifts, self.projector, n_terms)
        misfit, residual_power = self.misfit(batch, model.parts.assembled(parts, batch.index), n_terms)
        return {**losses, "data": quality * misfit}, parts, residual_power, motion

    def _strain(self, points: Deformed, draws: Draws) -> Tensor:
        """(b,) A^2 whose mean over the whole batch is that of the few particles whose strain is measured."""
        n = draws.strained
        measured = draws.strain_weight * strain(points.first(n), draws.edges, self.projector.backend) if n else None
        rest = self.motion_power.new_zeros(len(points) - n)
        return rest if measured is None else torch.cat((measured, rest))

    def misfit(self, batch: ObservedBatch, projected: Tensor, n_terms: int) -> tuple[Tensor, Tensor]:
        """See `data_misfit`; particles have their quality as their share in the power."""
        precision = self.model.precision(self.observations.band, n_terms)
        weights = self._weights(n_terms) * precision
        quality, transfer = self.model.quality.probability[batch.index], self.model.transfer(batch, n_terms)
        return data_misfit(batch.spectra, projected, transfer, weights, batch.group, quality, self.projector.backend)

    def weighted_misfit(self, points: Deformed, batch: ObservedBatch, n_terms: int) -> Tensor:
        """(b,) minus the log likelihood of images whose molecules look like this, each by its quality."""
        parts = self.model.project_batch(points, batch, self.projector, n_terms)
        misfit, _ = self.misfit(batch, self.model.parts.assembled(parts, batch.index), n_terms)
        return self.model.quality.probability[batch.index] * misfit

    def log_noise(self, batch: ObservedBatch, n_terms: int) -> Tensor:
        """(b,) what the noise of its optics group adds to the `misfit` of each particle, so that noise spectra compare."""
        log_power = self.model.noise_power.log()[batch.group][:, self.observations.band.shells[:n_terms]]
        return batch.seen * (log_power * self._weights(n_terms)).sum(1)

    def _weights(self, n_terms: int) -> Tensor:
        """(q,) how many independent terms each counts for."""
        return self.settings.independent_fraction * self.observations.band.weights[:n_terms]

    def _step(
        self, index: Tensor, corrections: Tensor, figures: dict[str, Tensor], motion: Tensor | None, plan: EpochPlan
    ) -> dict[str, float]:
        """One step on the loss of a batch of particles (b,): of the networks on its mean, of each particle's pose on its own.

        Figures, with the loss, and motion are those of the own particles. Returns the sum of each figure over the whole batch.
        """
        self.networks.zero_grad(set_to_none=True)
        if len(corrections):
            (figures["loss"].sum() / len(index)).backward()
        slope = corrections.grad
        sums = torch.stack(list(figures.values())).detach().sum(1)
        of_slope = sums.new_zeros(1) if slope is None else slope.sum().view(1)
        *values, finite = self._sums.add_up(torch.cat((sums, of_slope)), motion)
        if not (math.isfinite(values[0]) and math.isfinite(finite)):
            raise self._diverged()
        self.networks.step()
        if slope is not None:
            own = copied_to(self.share.of(index), slope.device)
            self.model.poses.step(own, corrections, slope * len(index), RATE_POSES * plan.learning_rate)
        if motion is not None:
            share = 1 / MOTION_MEMORY_STEPS
            self.motion_power.mul_(1 - share).add_(share * motion / len(index))
        return dict(zip(figures, values, strict=True))

    def _set_learning_rates(self, plan: EpochPlan) -> None:
        factor = self.settings.learning_rate * plan.learning_rate
        for group in self.networks.param_groups:
            group["lr"] = group["rate"] * factor

    @torch.no_grad()
    def held_out_objective(self, plan: EpochPlan) -> float:
        """Minus the log likelihood of the held-out particles at their posterior means, per particle, each by its quality.

        It includes the noise's own normalisation, so that epochs of one resolution compare whatever their noise spectra.
        """
        model = self.model.eval()
        n_terms = self.observations.band.n_terms(plan.resolution_angstroms)
        sums = torch.zeros(2, dtype=torch.float64, device=self.observations.device)  # read once: a GPU is waited for
        basis = model.field.basis_at_gaussians(model.gaussians.positions)  # of all batches
        for index in self.share.batches(self.held_out, self.settings.batch_size):
            batch = self.observations.batch(index, n_terms)
            points = model.at_rest(len(index))
            if plan.deforms:
                posterior = model.encode(batch, self.projector, n_terms)
                points = model.deformed(posterior.mean, basis)
                self.keep(batch.index, posterior)
            parts = model.project_batch(points, batch, self.projector, n_terms)
            if plan.judges_held_out:  # nothing is learned of it
                self.judge(batch, parts, n_terms)
            misfit, _ = self.misfit(batch, model.parts.assembled(parts, batch.index), n_terms)
            quality = model.quality.probability[batch.index]
            sums += torch.stack(((quality * (misfit + self.log_noise(batch, n_terms))).sum(), quality.sum())).double()
        self.share.crew.sum_(sums)
        self.exchange()
        total, count = sums.tolist()
        return total / count if count else 0.0

    @torch.no_grad()
    def exchange(self) -> None:
        """Give every process what belongs to the particles of the others; to be called by all processes of the half set.

        What is learned from all particles is taken from the first one, where processors of another kind round otherwise.
        """
        crew = self.share.crew
        if crew.count == 1:
            return
        learned = self.model.state_dict()  # the tensors themselves
        of_particles = [learned.pop(name) for name in OF_PARTICLES]
        self.share.exchange_(*of_particles, self.latent_mean, self.latent_log_variance)
        crew.take_first_(*learned.values(), self.motion_power)

    def keep(self, index: Tensor, posterior: Posterior) -> None:
        """Remember the posterior of some particles (b,)."""
        self.latent_mean[index] = posterior.mean.detach()
        self.latent_log_variance[index] = posterior.log_variance.detach()

    def kept(self, index: Tensor) -> Posterior:
        """The posterior of some particles (b,) as of the last time they were seen."""
        place = copied_to(index, self.observations.device)
        return Posterior(self.latent_mean[place], self.latent_log_variance[place])

    def state(self) -> dict[str, Any]:
        """Everything that the rest of the training depends on, and what later tasks need; plain values and tensors.

        To be called by all processes of the half set, between two steps.
        """
        self.exchange()
        held_out = torch.zeros(len(self.observations), dtype=torch.bool)
        held_out[self.held_out] = True
        return {
            "model": self.model.state_dict(),
            "networks": self.networks.state_dict(),
            "generator": self.generator.get_state(),
            "latent_mean": self.latent_mean,
            "latent_log_variance": self.latent_log_variance,
            "motion_power": self.motion_power,
            "epochs_done": self.epochs_done,
            "judged": self.judged,
            **self.graph.state(),
            "pose_prior_is_due": self.pose_prior_is_due,
            "is_retraced": self.is_retraced,
            "learned_stiffness": self.learned_stiffness,
            "pace": self.pace.state(),
            "has_ended": self.pace.is_done,
            "rows": torch.from_numpy(self.observations.rows),
            "held_out": held_out,
            "input_matrices": self.observations.matrices,
            "input_shifts": self.observations.shifts,
            "progress": None if self.progress is None else self.progress.state(self.share.crew),
        }

    def restore_findings(self, state: dict[str, Any]) -> None:
        """Take from a state what was found out of the molecule, whatever its images are."""
        self.is_retraced = state.get("is_retraced", False)  # a training begun before this was known
        self.learned_stiffness = state.get("learned_stiffness", 1.0)  # or before this was learned

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state, exactly."""
        field, saved = self.model.field, state["model"]
        device = self.observations.device
        field.set_anchors(saved["field.anchors"].to(device), saved["field.anchor_weights"].to(device))
        field.mask = torch.zeros_like(saved["field.mask"], device=device)
        self.model.load_state_dict(state["model"])
        self.networks.load_state_dict(state["networks"])
        self.generator.set_state(state["generator"].cpu())
        self.latent_mean.copy_(state["latent_mean"])
        self.latent_log_variance.copy_(state["latent_log_variance"])
        self.motion_power.copy_(state["motion_power"])
        self.graph = ElasticGraph.from_state(state, device)
        self.pose_prior_is_due = state["pose_prior_is_due"]
        self.restore_findings(state)
        self.epochs_done = state["epochs_done"]
        self.judged = state.get("judged", len(self.observations) if self.model.quality.is_ready else 0)  # or all were at once
        self.pace.restore(state["pace"])
        progress = state["progress"]
        self.progress = None
        if progress is not None:
            self.progress = EpochProgress.from_state(
                progress, len(self.model.noise_power), self.observations.band, self.share.crew
            )


def _motion(points: Deformed, quality: Tensor) -> Tensor:
    """(n,) A^2: sum of each Gaussian's squared displacements over particles, each by its quality (b,)."""
    coefficients = quality.sqrt()[:, None] * points.coefficients.detach()
    return len(quality) * mean_squared_displacement(coefficients, points.basis.detach())


def _parameters(optimiser: torch.optim.Optimizer) -> list[Tensor]:
    return [part for group in optimiser.param_groups for part in group["params"]]


def _optimiser(model: HalfModel) -> torch.optim.Adam:
    """Of everything that is learned but poses; each group with its rate."""
    g = model.gaussians
    return torch.optim.Adam(
        [
            {"params": [*model.field.branch.parameters(), *model.encoder.parameters()], "rate": RATE_NETWORKS},
            {"params": [*model.field.trunk.parameters()], "rate": RATE_FIELD_ANGSTROMS},
            {"params": [g.positions], "rate": RATE_POSITIONS_ANGSTROMS},
            {"params": [g.raw_amplitudes, g.log_scale, g.log_widths, g.width_logits], "rate": RATE_AMPLITUDES},
        ],
        fused=True,  # dozens of small tensors in one call
    )
