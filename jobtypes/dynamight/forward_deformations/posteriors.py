"""The last stage of a training: the posterior of the latent and the pose of every particle, worked out under the final model.

First the encoder guesses the latents of all; from the guesses come a few states that stand for all of them. A sample of the
particles tells which latents images say anything of (the others are left at their prior), and, once all states are tried on it,
how far off a state may be and still be in doubt. Then the particles are worked out batch by batch, each from its own guess and
the states that are in doubt for it (see `model.inference`). Where several processes share the half set, each works out its own of
every batch. The stage can be left after any batch, and goes on exactly there.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from jobtypes.common.team import Team
from jobtypes.dynamight.forward_deformations.evidence import Evidence
from jobtypes.dynamight.forward_deformations.memory_use import BATCHES_TOGETHER
from jobtypes.dynamight.forward_deformations.plan import TrainingPlan
from jobtypes.dynamight.forward_deformations.rounds import Progress, Rounds
from jobtypes.dynamight.forward_deformations.schedule import EpochPlan
from jobtypes.dynamight.forward_deformations.training import HalfTraining, TrainingSettings
from jobtypes.dynamight.model.inference import evidence_of_motion, refine_posterior, told_latents, weights_of_states
from jobtypes.dynamight.model.likelihood import Likelihood
from jobtypes.dynamight.model.observations import Band, ObservedBatch
from jobtypes.dynamight.model.representatives import Representatives, representatives
from jobtypes.dynamight.model.told import ToldLatents
from relion_jobs.contract.running_job import RunningJob

POSTERIORS = "posteriors"  # of a half set in a checkpoint: how far this stage is
# Training particles whose latents tell the states, at most.
STATES_SAMPLE = 10_000
# Training particles on which all states are tried: at least and at most so many, else this share of all.
FEWEST_TRIED, MOST_TRIED, SHARE_TRIED = 128, 1024, 1 / 16
# A latent of which an image tells less, on average, is left at its prior. In natural units of information: where a motion is, an
# image tells of about one; of latents without a motion, 0.06 at most was seen.
LEAST_TOLD = 0.1


class PosteriorStage:
    """The last stage of one half set.

    Parameters
    ----------
    training
        Whose epochs are done; its posteriors, poses and motion become those of the final model.

    Attributes
    ----------
    encoded, refined
        Particles, from the first on, that the encoder has guessed, and that have been worked out.
    told
        The latents that images tell of; None before all are encoded.
    others
        States that stand for those of all training particles, and which of them are in doubt; None before all are encoded.
    """

    def __init__(self, training: HalfTraining) -> None:
        self.training = training
        self.encoded = self.refined = 0
        self.told: ToldLatents | None = None
        self.others: Representatives | None = None

    @property
    def is_done(self) -> bool:
        """Whether every particle, held-out ones too, has been worked out."""
        return self.refined == len(self.training.observations)

    @torch.no_grad()
    def run(self, plan: EpochPlan, leave: Callable[[], bool]) -> bool:
        """Work out the particles that are left; returns whether all are done.

        Parameters
        ----------
        plan
            Of the last epoch.
        leave
            Asked after every batch; where it says so the stage is left, and the next call goes on.
        """
        training, crew = self.training, self.training.share.crew
        training.model.eval()
        n_terms = training.observations.band.n_terms(plan.resolution_angstroms)
        for index in self._batches_after(self.encoded):
            for own in training.share.batches(index, len(index)):
                batch = training.observations.batch(own, n_terms)
                training.keep(own, training.model.encode(batch, training.projector, n_terms))
            self.encoded += len(index)
            if crew.any_of(leave()):
                return False
        decoder = _Decoder(training, plan, n_terms)
        if self.others is None:
            training.exchange()
            self.told, self.others = self._told_and_states(decoder)
        for index in self._batches_after(self.refined):
            self._refine(training.share.of(index), decoder, self.others)
            self.refined += len(index)
            if crew.any_of(leave()) and not self.is_done:
                return False
        training.exchange()
        training.set_motion_power()
        return True

    def _batches_after(self, done: int) -> list[Tensor]:
        n_particles, size = len(self.training.observations), self._particles_together
        return [torch.arange(first, min(first + size, n_particles)) for first in range(done, n_particles, size)]

    @property
    def _particles_together(self) -> int:
        return particles_together(self.training.settings, self.training.observations.band)

    def _told_and_states(self, decoder: _Decoder) -> tuple[ToldLatents, Representatives]:
        """Latents that images tell of, and states that stand for those of all, both tried on a sample."""
        training = self.training
        good = training.model.quality.good(training.training)
        guesses = training.kept(_evenly(good, STATES_SAMPLE)).mean
        others = representatives(guesses)
        training.share.crew.take_first_(others.latents, others.shares)
        sample = _evenly(good, min(MOST_TRIED, max(FEWEST_TRIED, round(SHARE_TRIED * len(good)))))
        batches, prior_weight = list(training.share.batches(sample, training.settings.batch_size)), decoder.prior_weight

        def gathered(values: list[Tensor]) -> Tensor:
            return training.share.gathered(sample, values).to(training.observations.device)

        asked = [
            told_latents(decoder.likelihood(decoder.batch(index), turn=False), training.kept(index), prior_weight=prior_weight)
            for index in batches
        ]
        told = ToldLatents.among(guesses, gathered(asked).mean(0), LEAST_TOLD)
        tried = []
        for index in batches:
            target = decoder.likelihood(decoder.batch(index), turn=False, told=told)
            tried.append(weights_of_states(target, training.kept(index), others, prior_weight=prior_weight))
        distances, weights = (gathered([each[place] for each in tried]) for place in range(2))
        return told, others.tried_on(distances, weights)

    def _refine(self, index: Tensor, decoder: _Decoder, others: Representatives) -> None:
        """Of particles (b,), whose rotations have been learned or, where they were held out, are worked out as well."""
        training = self.training
        is_held_out = torch.isin(index, training.held_out)
        for some, turn in ((index[~is_held_out], False), (index[is_held_out], True)):
            if not len(some):
                continue
            batch = decoder.batch(some)
            target = decoder.likelihood(batch, turn=turn, told=self.told)
            posterior, corrections = refine_posterior(
                target, training.kept(some), prior_weight=decoder.prior_weight, others=others
            )
            training.model.poses.corrections[batch.index] = corrections
            training.keep(some, posterior)
            points = training.model.deformed(posterior.mean, decoder.basis)
            parts = training.model.project_batch(points, batch, training.projector, decoder.n_terms)
            training.judge(batch, parts, decoder.n_terms)

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps of the stage beside the state of the training."""
        told, others = (None if found is None else vars(found) for found in (self.told, self.others))
        return {POSTERIORS: {"encoded": self.encoded, "refined": self.refined, "told": told, "representatives": others}}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a half set's state in a checkpoint, exactly."""
        saved = state[POSTERIORS]
        self.encoded, self.refined = saved["encoded"], saved["refined"]
        told = saved.get("told")  # checkpoints of before had all latents worked out
        self.told = None if told is None else ToldLatents(**told).to(self.training.observations.device)
        if (others := saved["representatives"]) is not None:
            device = self.training.observations.device
            tried = others.get("doubt", math.inf)  # checkpoints of before had all states tried on every particle
            self.others = Representatives(others["latents"].to(device), others["shares"].to(device), tried)


class _Decoder:
    """The final model of a half set, and what its images are compared by: the same for all batches."""

    def __init__(self, training: HalfTraining, plan: EpochPlan, n_terms: int) -> None:
        self._training, self.n_terms, self.prior_weight = training, n_terms, plan.kl_weight
        self.basis = training.model.field.basis_at_gaussians(training.model.gaussians.positions)

    def batch(self, index: Tensor) -> ObservedBatch:
        """The images of particles (b,), an index on the CPU."""
        return self._training.observations.batch(index, self.n_terms)

    def likelihood(self, batch: ObservedBatch, *, turn: bool, told: ToldLatents | None = None) -> Likelihood:
        """Theirs, as a function of all latents or of some, and of poses, or of shifts only."""
        training = self._training
        return Likelihood(
            training.model,
            batch,
            training.projector,
            n_terms=self.n_terms,
            independent_fraction=training.settings.independent_fraction,
            move_poses=training.settings.refine_poses,
            turn=turn,
            basis=self.basis,
            told=told,
        )


def particles_together(settings: TrainingSettings, band: Band) -> int:
    """How many particles of a band the stage works out at once: fewer where each has many images."""
    return max(1, BATCHES_TOGETHER * settings.batch_size // band.n_views)


def _evenly(index: Tensor, most: int) -> Tensor:
    """At most so many of an index (p,), evenly spread."""
    return index[torch.linspace(0, len(index) - 1, min(most, len(index))).round().long()]


def work_out_posteriors(
    stages: dict[int, PosteriorStage],
    plan: TrainingPlan,
    history: list[dict[str, float]],
    *,
    rounds: Rounds,
    job: RunningJob,
    team: Team,
) -> None:
    """Bring the last stage of both half sets to its end, with a checkpoint there and every few minutes.

    Parameters
    ----------
    stages
        Of the half sets of this process.
    plan
        Of the training.
    history
        Figures of all epochs, for the checkpoints.
    rounds
        In which the half sets are worked on.
    job, team
        The running job, and the processes that share it.

    Raises
    ------
    JobAborted
        The job was asked to stop; a checkpoint has been written.
    """
    particles = sum(len(stage.training.observations) for stage in stages.values())
    progress = Progress("latents of all particles", lambda: sum(stage.refined for stage in stages.values()), lambda: particles)

    def piece(half: int) -> bool | None:
        stage = stages[half]
        return stage.run(plan.last_epoch, rounds.leave) or None

    if already := sum(team.merged({half: stage.refined for half, stage in stages.items()}).values()):
        job.report(f"The latents of {already} particles have been worked out already; going on with the others.")
    while not all(team.merged({half: stage.is_done for half, stage in stages.items()}).values()):
        rounds.work([half for half, stage in stages.items() if not stage.is_done], piece, progress)
        rounds.save(history)
    told = team.merged({half: len(stage.told) for half, stage in stages.items() if stage.told is not None})
    for half, count in sorted(told.items()):
        job.report(f"Half {half}: images tell of {count} of {plan.size.n_latent} latents; any other is left at its prior.")


@dataclass(frozen=True)
class HeldOutVerdict:
    """What the held-out images of a half set say of its model, once all are worked out.

    Attributes
    ----------
    motion
        Of its motion; images of something else than the molecule have no say.
    loss : (m,)
        Minus the log likelihood of each at its posterior mean and pose, with the noise's own normalisation, on the CPU.
    is_good : (m,)
        Which are the molecule.
    """

    motion: Evidence
    loss: Tensor
    is_good: Tensor

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps of it."""
        return {"motion": [self.motion.mean, self.motion.error], "loss": self.loss, "is_good": self.is_good}

    @classmethod
    def of_state(cls, state: dict[str, Any]) -> HeldOutVerdict:
        """As it was kept."""
        return cls(Evidence(*state["motion"]), state["loss"], state["is_good"])


@torch.no_grad()
def held_out_verdict(training: HalfTraining, plan: EpochPlan) -> HeldOutVerdict:
    """Ask the held-out images of a half set; `plan` is that of the last epoch."""
    decoder = _Decoder(training, plan, training.observations.band.n_terms(plan.resolution_angstroms))
    losses, evidence = [], []
    for index in training.share.batches(training.held_out, training.settings.batch_size):
        batch = decoder.batch(index)
        target, posterior = decoder.likelihood(batch, turn=True), training.kept(index)
        misfit = target.misfit(target.predict(target.unknowns(posterior.mean)))
        losses.append(misfit + training.log_noise(batch, decoder.n_terms))
        evidence.append(evidence_of_motion(target, posterior, prior_weight=decoder.prior_weight))
    loss, of_motion = (training.share.gathered(training.held_out, values).cpu() for values in (losses, evidence))
    judges = torch.isin(training.held_out, training.model.quality.good(training.held_out))
    image = training.observations.image_of[training.held_out[judges]]
    return HeldOutVerdict(Evidence.of(of_motion[judges], image), loss, training.model.quality.is_good.cpu()[training.held_out])
