"""Parts of the molecule that some particles lack, and which particles have them.

A subunit, a ligand or an arm is there or it is not: the occupancy of a part is a matter of yes or no, of which an image tells
with more or less certainty. So each particle has, for each part, the probability that it is there, and the model sees its image
as the molecule less what is missing. Deformations are left with what moves. Most molecules have no such part; then nothing of
this has any effect.

Source: for two states of which each datum is in one, Dempster, Laird and Rubin 1977 (EM).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

# All combinations of present and missing parts are looked at for each particle.
MOST_PARTS = 6
# Of the particles, that have a part: where nearly all or hardly any do, the prior still lets an image say otherwise.
LEAST_SHARE, LARGEST_SHARE = 0.02, 0.99
# Which parts are there is seen at low resolution, where an error of a few A in the place of a part does not hide it.
PRESENCE_RESOLUTION_ANGSTROMS = 12.0


def likelihood_derivatives(columns: Tensor, residual: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Derivatives of the log likelihood of predictions that change by columns.

    Parameters
    ----------
    columns : (b, m, q) complex
        Change of each prediction with each of m unknowns.
    residual : (b, q) complex
        What the predictions leave of the images.
    weights : (b, q)
        Log likelihood is minus these times the squared modulus of the residual.

    Returns
    -------
    (b, m), (b, m, m)
        Gradient, and curvature: minus the second derivatives, as far as predictions are linear (Gauss and Newton).
    """
    # real and imaginary parts side by side, and the residual as one more column, so that both are one product
    both = torch.view_as_real(torch.cat((columns, residual[:, None]), dim=1)).flatten(-2)  # (b, m + 1, 2 q)
    products = ((2 * weights).repeat_interleave(2, dim=1)[:, None] * both) @ both.transpose(1, 2)
    return products[:, :-1, -1], products[:, :-1, :-1]


class Parts(nn.Module):
    """Parts of a half set's molecule, and who has them.

    Attributes
    ----------
    membership : (R, n)
        1 where a Gaussian belongs to a part, 0 elsewhere; it belongs to one at most.
    presence : (n_particles, R)
        Probability that each part is there.
    share : (R,)
        Of the particles that are the molecule, that have a part.
    """

    membership: Tensor
    presence: Tensor
    share: Tensor

    def __init__(self, n_particles: int, n_gaussians: int, n_parts: int = 0) -> None:
        super().__init__()
        self.register_buffer("membership", torch.zeros(n_parts, n_gaussians))
        self.register_buffer("presence", torch.ones(n_particles, n_parts))
        self.register_buffer("share", torch.ones(n_parts))

    def __len__(self) -> int:
        """Parts R."""
        return len(self.membership)

    def of_others(self, n_particles: int) -> Parts:
        """The same parts, of so many other particles of which nothing is known yet."""
        others = Parts(n_particles, self.membership.shape[1], len(self)).to(self.presence)
        others.membership.copy_(self.membership)
        others.share.copy_(self.share)
        others.presence.copy_(self.share.expand(n_particles, -1))
        return others

    def add(self, members: Tensor, share: float) -> None:
        """Take one more part of Gaussians (n,), bool, that such a share of the particles has."""
        new = self.presence.new_full((1,), share)
        self.membership = torch.cat((self.membership, members.to(self.membership)[None]))
        self.share = torch.cat((self.share, new))
        self.presence = torch.cat((self.presence, new.expand(len(self.presence), 1)), dim=1)

    def keep(self, kept: Tensor) -> None:
        """Give up all parts but some (R,), bool."""
        self.membership, self.share, self.presence = self.membership[kept], self.share[kept], self.presence[:, kept]

    def channels(self) -> Tensor:
        """(1 + R, n) share of each Gaussian in what every particle has, and in each part."""
        return torch.cat((1 - self.membership.sum(0, keepdim=True), self.membership))

    def present(self, index: Tensor) -> Tensor:
        """(b, n) share of each Gaussian that the particles at `index` (b,) have."""
        present: Tensor = 1 - (1 - self.presence[index]) @ self.membership
        return present

    def assembled(self, terms: Tensor, index: Tensor) -> Tensor:
        """Projections (b, q) of the particles at `index` (b,) from those of what all have and of each part, (b, 1 + R, q)."""
        if not len(self):
            return terms[:, 0]
        assembled: Tensor = terms[:, 0] + (self.presence[index][:, :, None] * terms[:, 1:]).sum(1)
        return assembled

    @torch.no_grad()
    def judge(self, index: Tensor, residual: Tensor, parts: Tensor, weights: Tensor) -> None:
        """Work out which parts the particles at `index` (b,) have.

        Parameters
        ----------
        index : (b,)
            Particles.
        residual : (b, q) complex
            Fourier terms of their images, less those of the molecule with the presences as they are.
        parts : (b, R, q) complex
            Of each part as the image would show it.
        weights : (b, q)
            Log likelihood is minus these times the squared modulus of what is left.
        """
        gradient, curvature = likelihood_derivatives(parts, residual, weights)
        # (2^R, R) all combinations, made where the presences are
        states = torch.cartesian_prod(*self.presence.new_tensor((0.0, 1.0)).expand(len(self), -1)).view(-1, len(self))
        step = states - self.presence[index][:, None]  # (b, 2^R, R)
        gain = (step @ gradient[..., None])[..., 0] - 0.5 * ((step @ curvature) * step).sum(2)
        prior = states @ self.share.log() + (1 - states) @ (1 - self.share).log()
        self.presence[index] = (gain + prior).softmax(1) @ states

    @torch.no_grad()
    def learn(self, index: Tensor) -> None:
        """Take from the particles at `index` (p,) how many have each part."""
        if len(self):
            self.share.copy_(self.presence[index].mean(0).clamp(LEAST_SHARE, LARGEST_SHARE))
