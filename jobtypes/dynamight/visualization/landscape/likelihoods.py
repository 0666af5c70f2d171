"""What the images alone say of where each particle is along the main motions.

The latents of a particle are known as a posterior, for which all particles were taken for the same standard normal crowd.
Whoever asks how the crowd really lies has to take that assumption out again, or its shape stays in the answer: what is left is
the likelihood.

Along coordinates c with the gradient J at the posterior mean z of diagonal covariance S, the posterior is normal with mean c(z)
and covariance J S J^T, the assumed crowd has the mean c(z) - J z and the covariance J J^T, and their quotient is normal again:
precisions subtract, and so do precisions times means.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from jobtypes.dynamight.visualization.session import Session

_LEAST_INFORMATION = 1e-3  # of the assumed crowd's precision: images that say less say nothing


@dataclass(frozen=True)
class Likelihoods:
    """Of n particles along c coordinates, float64.

    Attributes
    ----------
    means : (n, c) A
        Where each is most likely.
    precisions : (n, c, c) 1/A^2
        How surely; 0 in directions of which an image says nothing.
    posterior_means, posterior_covariances : (n, c) A, (n, c, c) A^2
        With the assumed crowd.
    weights : (n,)
        What each counts.
    """

    means: Tensor
    precisions: Tensor
    posterior_means: Tensor
    posterior_covariances: Tensor
    weights: Tensor

    def __len__(self) -> int:
        return len(self.means)

    def some(self, chosen: Tensor) -> Likelihoods:
        """Those of some particles: indices, or bool (n,)."""
        return Likelihoods(*(values[chosen] for values in vars(self).values()))


@torch.no_grad()
def likelihoods_of(session: Session, motions: tuple[int, ...], seen_from: Session) -> Likelihoods:
    """Likelihoods of the particles of a half set that are rather the molecule, each counted by its quality.

    Parameters
    ----------
    session
        The half set.
    motions
        Main motions that are the coordinates, from 0.
    seen_from
        The half set whose main motions these are: this one or the other, of which coordinates are those that do the same to the
        density, both half sets about their mean state.
    """
    part, field = session.part, session.model.field
    to_coordinates = seen_from.to_own_coordinates(session)[:, list(motions)].double()  # (K, c)
    coefficients = field.coefficients(part.latent_mean).cpu().double()
    mean = session.motions.mean.double() if session.half == seen_from.half else coefficients.mean(0)
    values = (coefficients - mean) @ to_coordinates
    gradient = torch.stack(
        [(step.cpu().double() @ to_coordinates) for step in part.uncertain_by()], dim=2
    )  # (n, c, d) times S^1/2
    deviations = (0.5 * part.latent_log_variance.cpu().double()).exp()
    likelihoods = _without_crowd(values, gradient, deviations, part.latent_mean.cpu().double(), part.quality.cpu().double())
    return likelihoods.some(part.good.cpu())


def _without_crowd(values: Tensor, spread: Tensor, deviations: Tensor, latents: Tensor, weights: Tensor) -> Likelihoods:
    """From posterior means (n, c), J S^1/2 (n, c, d), the roots S^1/2 (n, d) and latents (n, d)."""
    n_coordinates = values.shape[1]
    gradient = spread / deviations[:, None]
    tiny = 1e-12 * torch.eye(n_coordinates, dtype=values.dtype) * spread.square().sum(2).mean().clamp(min=1e-30)
    covariance = spread @ spread.transpose(1, 2) + tiny
    crowd = gradient @ gradient.transpose(1, 2) + tiny
    crowd_precision = torch.linalg.inv(crowd)
    precision = torch.linalg.inv(covariance)
    difference = precision - crowd_precision
    information = (
        precision @ values[:, :, None] - crowd_precision @ (values - torch.einsum("ncd,nd->nc", gradient, latents))[:, :, None]
    )
    sizes, axes = torch.linalg.eigh(difference)
    floor = _LEAST_INFORMATION * torch.linalg.eigvalsh(crowd_precision)[:, :1]
    told = sizes > floor
    inverse = torch.where(told, 1 / sizes.clamp(min=1e-300), 0.0)
    means = (axes * inverse[:, None]) @ axes.transpose(1, 2) @ information
    precisions = (axes * torch.where(told, sizes, 0.0)[:, None]) @ axes.transpose(1, 2)
    return Likelihoods(means[:, :, 0], precisions, values, covariance, weights)
