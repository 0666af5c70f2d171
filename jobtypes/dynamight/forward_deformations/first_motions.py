"""The motions that the training begins with: those of a linear model, fitted to many particles at once.

Where a network has to find motions and their latents together it takes long, and where the signal is low it finds a part of
them. To first order an image changes in proportion to the displacements a = U z of a few control points, with normal latents z,
and all that a particle says of these is a gradient and a curvature: then U, the latents and their number follow from all
particles by expectation and maximisation, without a single image being looked at again. The consensus is the mean over all
states, and its derivative the best linear prediction of an image for motions of any size (Stein 1981).

How stiff the molecule is, particles tell that U has not been fitted to. Without a motion that these are surer of than of none,
the training begins at rest.

Source: Tipping and Bishop 1999 for the linear model; Liu, Rubin and Wu 1998 for expectation and maximisation with an expanded
parameter; Punjani and Fleet 2021 (3D variability analysis) for maps instead of displacements.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from jobtypes.common.copies import first_copies
from jobtypes.dynamight.forward_deformations.schedule import EpochPlan
from jobtypes.dynamight.model.control_points import WIDTH_PER_SPACING, thinned
from jobtypes.dynamight.model.deformed import mean_squared_displacement
from jobtypes.dynamight.model.half_model import Posterior
from jobtypes.dynamight.model.inference import responses_of_displacements

if TYPE_CHECKING:
    from jobtypes.dynamight.forward_deformations.training import HalfTraining

SAMPLE, BATCH = 2500, 16  # particles
JUDGES = 5  # one of so many judges what the others have found
# Detail of parts that move is smeared away in the consensus.
FINEST_ANGSTROMS = 12.0
# Control points are as close as the resolution can tell apart, but no more than so many.
CLOSEST_ANGSTROMS, MOST_POINTS, LARGER = 13.0, 48, 1.1
# Shares of the strain's weight to try, the softest first: with few points much of the molecule must bend for a hinge.
STIFFNESS = tuple(4.0**power for power in range(-5, 1))
START_ANGSTROMS = 0.5  # of each factor, rms over the density
FIRST_ITERATIONS, ITERATIONS = 20, 8
SURE_DEVIATIONS = 2.0
# Of the encoder, which learns what the linear model says.
PASSES, PATIENCE, TEACHING_BATCH, TEACHING_RATE = 60, 5, 64, 2e-3


@dataclass(frozen=True)
class Responses:
    """What p particles say of the displacements of a few points: gradient (p, B) and curvature (p, B, B) of log likelihoods."""

    gradient: Tensor
    curvature: Tensor

    def __len__(self) -> int:
        """Particles p."""
        return len(self.gradient)

    def judges_and_others(self) -> tuple[Responses, Responses]:
        """Of the first fifth, and of the others; not copied."""
        n = len(self) // JUDGES
        return Responses(self.gradient[:n], self.curvature[:n]), Responses(self.gradient[n:], self.curvature[n:])


@dataclass(frozen=True)
class LinearPosterior:
    """Posteriors of latents in a linear model: means (p, d), covariances (p, d, d), and log evidence over that of rest (p,)."""

    mean: Tensor
    covariance: Tensor
    evidence: Tensor

    @classmethod
    def of(cls, responses: Responses, factors: Tensor) -> LinearPosterior:
        """In the model of factors (B, d)."""
        p, b = responses.gradient.shape
        d = factors.shape[1]
        gradient = responses.gradient @ factors
        precision = factors.T @ (responses.curvature.view(p * b, b) @ factors).view(p, b, d)
        precision = precision + torch.eye(d, dtype=precision.dtype, device=precision.device)
        covariance = torch.linalg.inv(precision)
        mean = (covariance @ gradient[..., None])[..., 0]
        return cls(mean, covariance, 0.5 * (gradient * mean).sum(1) - 0.5 * torch.logdet(precision))


def fitted(factors: Tensor, responses: Responses, strain: Tensor, iterations: int) -> Tensor:
    """Factors (B, d) that explain the particles best, by expectation and maximisation from these.

    Parameters
    ----------
    factors : (B, d)
        To begin with; a column of zeros stays so.
    responses
        Of p particles.
    strain : (B, B)
        Inverse covariance of a particle's displacements by their strain alone.
    iterations
        Of which each takes one product of the latents' moments with all curvatures.
    """
    p, b = responses.gradient.shape
    d = factors.shape[1]
    for _ in range(iterations):
        latents = LinearPosterior.of(responses, factors)
        moments = latents.mean[:, :, None] * latents.mean[:, None] + latents.covariance  # (p, d, d)
        curvature = (moments.flatten(1).T @ responses.curvature.view(p, b * b)).view(d, d, b, b)
        curvature = curvature + moments.sum(0)[:, :, None, None] * strain
        system = curvature.permute(0, 2, 1, 3).reshape(d * b, d * b).double()
        system.diagonal().add_(1e-6 * system.diagonal().mean())
        gradient = (latents.mean.T @ responses.gradient).reshape(d * b).double()
        factors = torch.linalg.solve(system, gradient).view(d, b).T.to(factors)
        # latents keep the variance of their prior: what they lack, the factors take
        factors = factors @ torch.linalg.cholesky(moments.mean(0))
    return factors


@torch.no_grad()
def find_first_motions(training: HalfTraining, plan: EpochPlan) -> bool:
    """Give a half set's model, in which nothing moves yet, the motions of the linear model, and its particles their latents.

    Returns whether there are any; the field then has other control points.

    Raises
    ------
    JobFailed
        What the particles say is not finite.
    """
    model = training.model
    positions, amplitudes = model.gaussians.positions.detach(), model.gaussians.amplitudes.detach()
    d = min(training.latent_mean.shape[1], model.field.n_fields)
    shares = shares_of_points(positions) * model.field.mobility(positions)
    sample = first_copies(training.good_sample(SAMPLE), training.observations.image_of)
    responses = responses_of(training, sample, shares)
    if not bool(responses.gradient.isfinite().all() and responses.curvature.isfinite().all()):
        raise training.diverged()
    metric = torch.kron((shares * (amplitudes / amplitudes.sum())) @ shares.T, torch.eye(3).to(shares))
    factors = _chosen(responses, _start(metric, d, training.generator), _strain(training, shares))
    if factors is None:
        return False
    factors = factors @ _main_axes(factors, metric)
    latents = LinearPosterior.of(responses, factors)
    fields = torch.einsum("pn,pcd->dnc", shares, factors.view(len(shares), 3, d))
    model.field.set_anchors(positions, amplitudes)
    model.field.begin_with(fields, positions, training.generator)
    mean = latents.mean.new_zeros(len(sample), training.latent_mean.shape[1])
    log_variance = torch.zeros_like(mean)
    mean[:, :d], log_variance[:, :d] = latents.mean, latents.covariance.diagonal(dim1=1, dim2=2).log()
    posterior = Posterior(mean, log_variance)
    training.keep(sample, posterior)
    basis = model.field.basis_at_gaussians(positions)
    training.motion_power.copy_(mean_squared_displacement(model.field.coefficients(mean), basis))
    _teach(training, plan, sample, posterior)
    return True


def shares_of_points(positions: Tensor) -> Tensor:
    """(P, n) how far each Gaussian at positions (n, 3) A follows each of P control points among them; they add up to one."""
    spacing = CLOSEST_ANGSTROMS
    while len(points := thinned(positions, spacing)) > MOST_POINTS:
        spacing *= LARGER
    squared = torch.cdist(points, positions).square()
    return torch.softmax(-squared / (2 * (WIDTH_PER_SPACING * spacing) ** 2), dim=0)


@torch.no_grad()
def responses_of(training: HalfTraining, sample: Tensor, shares: Tensor) -> Responses:
    """What a sample of the particles (p,) says, each by its quality, of the points that Gaussians follow by shares (P, n)."""
    n_terms = training.observations.band.n_terms(FINEST_ANGSTROMS)
    gradients, curvatures = [], []
    for index in sample.split(BATCH):
        gradient, curvature = responses_of_displacements(
            training.model,
            training.observations.batch(index, n_terms),
            training.projector,
            shares,
            n_terms=n_terms,
            independent_fraction=training.settings.independent_fraction,
        )
        quality = training.model.quality.probability[index]
        gradients.append(quality[:, None] * gradient)
        curvatures.append(quality[:, None, None] * curvature)
    return Responses(torch.cat(gradients), torch.cat(curvatures))


def _strain(training: HalfTraining, shares: Tensor) -> Tensor:
    """(3 P, 3 P) inverse covariance of displacements of the points, of which the strain is minus the log probability."""
    positions, edges = training.model.gaussians.positions.detach(), training.graph.edges
    first, second = edges.T
    along = torch.nn.functional.normalize(positions[first] - positions[second], dim=1)
    lengthened = ((shares[:, first] - shares[:, second]).T[:, :, None] * along[:, None]).flatten(1)  # (e, 3 P)
    strain: Tensor = 2 * training.settings.stiffness / max(1, len(edges)) * (lengthened.T @ lengthened)
    return strain


def _start(metric: Tensor, d: int, generator: torch.Generator) -> Tensor:
    """(B, d) random factors of equal size by the metric (B, B)."""
    root = torch.linalg.cholesky(metric + 1e-6 * metric.diagonal().mean() * torch.eye(len(metric)).to(metric))
    random = torch.linalg.qr(torch.randn(len(metric), d, generator=generator).to(metric)).Q
    factors: Tensor = START_ANGSTROMS * torch.linalg.solve_triangular(root.T, random, upper=True)
    return factors


def _main_axes(factors: Tensor, metric: Tensor) -> Tensor:
    """(d, d) rotation of the latents that makes factors (B, d) orthogonal by the metric, the largest first."""
    axes: Tensor = torch.linalg.eigh(factors.T @ metric @ factors).eigenvectors.flip(1)
    return axes


def _chosen(responses: Responses, start: Tensor, strain: Tensor) -> Tensor | None:
    """Factors (B, d) with the stiffness that the judges among the particles are surest of; None where they are of no motion."""
    judges, others = responses.judges_and_others()
    best: tuple[float, float, Tensor] | None = None
    factors, evidence = start, torch.zeros(0)
    for number, stiffness in enumerate(STIFFNESS):
        factors = fitted(factors, others, stiffness * strain, FIRST_ITERATIONS if number == 0 else ITERATIONS)
        found = LinearPosterior.of(judges, factors).evidence
        if best is not None and float(found.mean()) <= best[0]:
            break
        best, evidence = (float(found.mean()), stiffness, factors), found
    if best is None or not _is_sure(evidence):
        return None
    _, stiffness, factors = best
    return fitted(factors, responses, stiffness * strain, ITERATIONS)


def _is_sure(evidence: Tensor) -> bool:
    """Whether the mean of the evidence (p,) for motion is above zero by more than chance."""
    return bool(len(evidence) > 1 and evidence.mean() > SURE_DEVIATIONS * evidence.std() / len(evidence) ** 0.5)


def _teach(training: HalfTraining, plan: EpochPlan, sample: Tensor, posterior: Posterior) -> None:
    """Let the encoder guess what the linear model says, as long as it guesses better for particles that it has not seen."""
    model, generator = training.model, training.generator
    n_terms = training.observations.band.n_terms(plan.resolution_angstroms)
    inputs = torch.cat(
        [
            model.encoder_inputs(training.observations.batch(index, n_terms), training.projector, n_terms)
            for index in sample.split(training.settings.batch_size)
        ]
    )
    judges, learners = torch.arange(len(sample)).split([len(sample) // JUDGES, len(sample) - len(sample) // JUDGES])
    optimiser = torch.optim.Adam(model.encoder.parameters(), TEACHING_RATE)

    def divergence(chosen: Tensor) -> Tensor:
        mean, log_variance = model.encoder(inputs[chosen])
        apart = (mean - posterior.mean[chosen]).square() + posterior.log_variance[chosen].exp()
        of_each: Tensor = 0.5 * (log_variance - posterior.log_variance[chosen] + apart / log_variance.exp() - 1).sum(1)
        return of_each.mean()

    best, kept, worse = float(divergence(judges)), deepcopy(model.encoder.state_dict()), 0
    for _ in range(PASSES):
        with torch.enable_grad():
            for chosen in learners[torch.randperm(len(learners), generator=generator)].split(TEACHING_BATCH):
                optimiser.zero_grad()
                divergence(chosen).backward()
                optimiser.step()
        judged = float(divergence(judges))
        worse = worse + 1 if judged >= best else 0
        if judged < best:
            best, kept = judged, deepcopy(model.encoder.state_dict())
        if worse == PATIENCE:
            break
    model.encoder.load_state_dict(kept)
