"""The last stage of a training: the posterior of the latent and the pose of every particle, worked out under the final model.

First the encoder guesses the latents of all; from the guesses come a few states that stand for all of them. Then the particles
are worked out batch by batch, each from the best of its own guess and those states (see `model.inference`). Where several
processes share the half set, each works out its own of every batch. The stage can be left after any batch, and goes on exactly
there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from jobtypes.common.team import Team
from jobtypes.dynamight.forward_deformations.evidence import Evidence
from jobtypes.dynamight.forward_deformations.plan import TrainingPlan
from jobtypes.dynamight.forward_deformations.rounds import Progress, Rounds
from jobtypes.dynamight.forward_deformations.schedule import EpochPlan
from jobtypes.dynamight.forward_deformations.training import HalfTraining
from jobtypes.dynamight.model.deformed import mean_squared_displacement
from jobtypes.dynamight.model.inference import Representatives, evidence_of_motion, refine_posterior, representatives
from relion_jobs.contract.running_job import RunningJob

POSTERIORS = "posteriors"  # of a half set in a checkpoint: how far this stage is


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
    others
        States that stand for those of all training particles; None before all are encoded.
    """

    def __init__(self, training: HalfTraining) -> None:
        self.training = training
        self.encoded = self.refined = 0
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
        if self.others is None:
            training.exchange()
            self.others = representatives(self._training_latents())
        for index in self._batches_after(self.refined):
            for own in training.share.batches(index, len(index)):
                self._refine(own, plan, n_terms, self.others)
            self.refined += len(index)
            if crew.any_of(leave()) and not self.is_done:
                return False
        training.exchange()
        self._set_motion_power()
        return True

    def _batches_after(self, done: int) -> list[Tensor]:
        n_particles, size = len(self.training.observations), self.training.settings.batch_size
        return [torch.arange(first, min(first + size, n_particles)) for first in range(done, n_particles, size)]

    def _training_latents(self) -> Tensor:
        """(p, d) of particles that are the molecule, on the compute device."""
        return self.training.kept(self.training.model.quality.good(self.training.training)).mean

    def _refine(self, index: Tensor, plan: EpochPlan, n_terms: int, others: Representatives) -> None:
        training = self.training
        batch = training.observations.batch(index, n_terms)
        posterior, corrections = refine_posterior(
            training.model,
            batch,
            training.kept(index),
            training.projector,
            n_terms=n_terms,
            independent_fraction=training.settings.independent_fraction,
            prior_weight=plan.kl_weight,
            move_poses=training.settings.refine_poses,
            others=others,
        )
        training.model.poses.corrections[batch.index] = corrections
        training.keep(index, posterior)
        points = training.model.deformed(posterior.mean)
        training.judge(batch, training.model.project_batch(points, batch, training.projector, n_terms), n_terms)

    def _set_motion_power(self) -> None:
        """Of all training particles: each Gaussian's mean squared displacement."""
        model = self.training.model
        basis = model.field.basis_at_gaussians(model.gaussians.positions)
        self.training.motion_power.copy_(mean_squared_displacement(model.field.coefficients(self._training_latents()), basis))

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps of the stage beside the state of the training."""
        others = None if self.others is None else {"latents": self.others.latents, "shares": self.others.shares}
        return {POSTERIORS: {"encoded": self.encoded, "refined": self.refined, "representatives": others}}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a half set's state in a checkpoint, exactly."""
        saved = state[POSTERIORS]
        self.encoded, self.refined = saved["encoded"], saved["refined"]
        if (others := saved["representatives"]) is not None:
            device = self.training.observations.device
            self.others = Representatives(others["latents"].to(device), others["shares"].to(device))


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


@torch.no_grad()
def mean_evidence_of_motion(training: HalfTraining, plan: EpochPlan) -> Evidence:
    """What the held-out particles say of the half set's motion, once all are worked out.

    Images of something else than the molecule have no say.

    Parameters
    ----------
    training
        Of a half set.
    plan
        Of the last epoch.
    """
    n_terms = training.observations.band.n_terms(plan.resolution_angstroms)
    parts = []
    judges = training.model.quality.good(training.held_out)
    for index in training.share.batches(judges, training.settings.batch_size):
        batch = training.observations.batch(index, n_terms)
        parts.append(
            evidence_of_motion(
                training.model,
                batch,
                training.kept(index),
                training.projector,
                n_terms=n_terms,
                independent_fraction=training.settings.independent_fraction,
                prior_weight=plan.kl_weight,
            )
        )
    return Evidence.of(training.share.gathered(judges, parts), training.observations.image_of[judges])
