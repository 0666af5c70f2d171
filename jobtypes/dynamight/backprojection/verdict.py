"""Is the deformed map better than the rigid one? Judged by particles that made neither.

The FSC between half maps cannot tell: motion blurs both halves alike. The likelihood of images can: a held-out particle is
predicted from the deformed map in its state and from the rigid map, and the better prediction is the better map.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from jobtypes.common.copies import mean_of_copies
from jobtypes.common.padded_grid import padded_spectrum
from jobtypes.dynamight.backprojection.moving_part import MovingPart
from jobtypes.dynamight.backprojection.particle_pass import ParticleViews, Views, batches
from jobtypes.dynamight.backprojection.slices import SlicePlane, read_slices
from jobtypes.dynamight.backprojection.warp import Deformation
from jobtypes.dynamight.model.parts import LARGEST_SHARE, LEAST_SHARE

_STANDARD_ERRORS = 2.0
_NEGLIGIBLE = 0.05  # nats per particle; differences of rounding and of unfinished iterations have no standard error


@dataclass(frozen=True)
class Verdict:
    """What the held-out particles say, and whether the half maps agree with it where the molecule moves.

    Attributes
    ----------
    word
        ``better``, ``same``, ``worse``, ``unknown``, or ``mixed``: better to held-out particles, but the moving part is worse.
    n_particles, n_copies
        Held-out particles of both halves, each image counted once; and further copies of these images (symmetry expansion).
    gain, gain_error
        Mean over them of the log likelihood under the deformed map minus that under the rigid map (nats per particle), and its
        standard error. An image has the mean over its copies: they see the same noise, and are no witnesses of their own.
    information
        Mean information (nats) that latents and presences of parts carry, which the gain must exceed: what was read off an image
        can fit its noise.
    moving
        How the half maps agree where the molecule moves; None where nothing does, or nobody has looked.
    """

    word: str
    n_particles: int = 0
    gain: float = 0.0
    gain_error: float = 0.0
    information: float = 0.0
    n_copies: int = 0
    moving: MovingPart | None = None

    def with_moving_part(self, moving: MovingPart | None) -> Verdict:
        """The same, as far as the moving part allows: a map that is worse there is not called better."""
        spoiled = self.word == "better" and moving is not None and moving.fell
        return replace(self, word="mixed" if spoiled else self.word, moving=moving)

    def sentence(self) -> str:
        """Say the verdict in plain words, with its reasons."""
        return f"{self._of_particles()} {self._of_moving_part()}".strip()

    def _of_particles(self) -> str:
        if self.word == "unknown":
            return "Deformed or rigid, which map is better? Unknown: there are no held-out particles to judge by."
        reason = self._reason()
        return {
            "mixed": f"The deformed map is not called better than the rigid one: {reason}, but its moving part is worse.",
            "better": f"The deformed map is better than the rigid one: {reason}.",
            "same": f"The deformed map is not better than the rigid one, they are the same within the error: {reason}.",
            "worse": f"The deformed map is worse than the rigid one: {reason}; use rigid_half1.mrc and rigid_half2.mrc instead.",
        }[self.word]

    def _of_moving_part(self) -> str:
        if self.moving is None:
            return ""
        doubt = ": the two halves show it in different states, or the deformations smear it" if self.moving.fell else ""
        return f"Where the molecule moves, {self.moving.figures()}{doubt}."

    def _reason(self) -> str:
        copies = f" (each image counts once, with its copies: {self.n_copies} more)" if self.n_copies else ""
        verb = "is" if self.n_particles == 1 else "are"
        who = f"{self.n_particles} held-out {'particle' if self.n_particles == 1 else 'particles'}{copies} {verb}"
        gain, error = f"{abs(self.gain):.2f}", f"{self.gain_error:.2f}"
        if gain == error == "0.00":
            # such as a single bin, whose deformed map is the rigid one
            return f"{who} equally likely under both maps"
        return (
            f"{who} {'more' if self.gain >= 0 else 'less'} likely under the deformed map by {gain} +- {error} "
            f"(log likelihood per particle; latents carry {self.information:.2f})"
        )


def judge(gains: Tensor, information: Tensor, image: Tensor) -> Verdict:
    """Turn the gain (P,) and latent information (P,) of each held-out particle, in nats, into a verdict.

    Better: the mean gain less the information exceeds two standard errors. Worse: the mean gain is negative by more than two
    standard errors, and by more than rounding. Means and errors are over images: `image` (P,) says which each particle is of.
    """
    if len(gains) == 0:
        return Verdict("unknown")
    n_particles = len(gains)
    gains, information = (mean_of_copies(values.double(), image) for values in (gains, information))
    error = float(gains.std() / math.sqrt(len(gains))) if len(gains) > 1 else math.inf
    mean, paid = float(gains.mean()), float(information.mean())
    net_error = float((gains - information).std() / math.sqrt(len(gains))) if len(gains) > 1 else math.inf
    word = "same"
    if mean - paid > _STANDARD_ERRORS * net_error:
        word = "better"
    elif mean < -max(_STANDARD_ERRORS * error, _NEGLIGIBLE):
        word = "worse"
    return Verdict(word, len(gains), mean, error, paid, n_particles - len(gains))


def latent_information(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Kullback-Leibler divergence (b,), in nats, of posteriors (b, d) from the unit Gaussian."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1)


def presence_information(presence: Tensor, train: Tensor) -> Tensor:
    """Kullback-Leibler divergence (p,), in nats, of presences (p, R) from the shares of particles `train` (p,) that have them."""
    has, lacks = presence.double(), 1 - presence.double()
    share = has[train.to(presence.device)].mean(0).clamp(LEAST_SHARE, LARGEST_SHARE)
    return (torch.xlogy(has, has / share) + torch.xlogy(lacks, lacks / (1 - share))).sum(1).to(presence.dtype)


def likelihood_gains(
    views: ParticleViews,
    members_of_bin: Sequence[np.ndarray],
    *,
    rigid_map: Tensor,
    deformed_map: Tensor,
    deformations: Sequence[Deformation],
    batch_size: int,
    after_batch: Callable[[int], None],
) -> tuple[np.ndarray, Tensor]:
    """Log likelihood under the deformed map minus that under the rigid map.

    Parameters
    ----------
    views, members_of_bin, batch_size, after_batch
        As in `particle_pass.add_particles`.
    rigid_map, deformed_map : (N, N, N)
        Made without these particles.
    deformations
        D_m of each bin.

    Returns
    -------
    tuple
        Numbers of the particles in the half (n,); their gains (n,) in nats, on the CPU.
    """
    plane = views.plane
    precision = plane.weights / views.noise
    rigid = padded_spectrum(rigid_map)
    order, gains = [], []
    for members, deformation in zip(members_of_bin, deformations, strict=True):
        if len(members) == 0:
            continue
        state = padded_spectrum(deformation.push(deformed_map))
        for batch in batches(members, views.particles_together(batch_size)):
            read = views.read(batch)
            better, worse = (_score(read, spectrum, plane, precision) for spectrum in (state, rigid))
            order.append(batch)
            gains.append(worse.new_zeros(len(batch)).index_add_(0, read.place, better - worse).cpu())
            after_batch(len(batch))
    if not order:
        return np.empty(0, dtype=np.int64), torch.empty(0)
    return np.concatenate(order), torch.cat(gains)


def _score(read: Views, spectrum: Tensor, plane: SlicePlane, precision: Tensor) -> Tensor:
    """Log likelihood (b,) of images but for their own power, which no map changes."""
    predicted = read_slices(spectrum, plane, read.rotations)
    return (((read.data * predicted.conj()).real - 0.5 * read.weight * predicted.abs().square()) * precision).sum(1)
