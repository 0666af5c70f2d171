"""Everything that is learned from one half set, and its prediction of an image."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from jobtypes.common.fourier import irfft2
from jobtypes.dynamight.model.deformed import Deformed, combine, undeformed
from jobtypes.dynamight.model.displacement import DisplacementField
from jobtypes.dynamight.model.encoder import FINEST_ANGSTROMS, Encoder
from jobtypes.dynamight.model.gaussians import GaussianModel
from jobtypes.dynamight.model.observations import Band, ObservedBatch
from jobtypes.dynamight.model.parts import PRESENCE_RESOLUTION_ANGSTROMS, Parts
from jobtypes.dynamight.model.poses import RefinedPoses
from jobtypes.dynamight.model.principal_motions import gram_matrix
from jobtypes.dynamight.model.projection import Projector
from jobtypes.dynamight.model.quality import ParticleQuality

# Names in the state of a `HalfModel` of what belongs to single particles, (n_particles, ...) each.
OF_PARTICLES = ("poses.corrections", "parts.presence", "quality.probability", "quality.scale", "quality.group_scale")


@dataclass(frozen=True)
class Posterior:
    """Normal posterior of the latents of a batch: mean and log variance, each (b, d)."""

    mean: Tensor
    log_variance: Tensor

    def sample(self, noise: Tensor) -> Tensor:
        """One draw per particle, (b, d), from standard normal numbers (b, d)."""
        return self.mean + (0.5 * self.log_variance).exp() * noise.to(self.mean)

    def divergence(self) -> Tensor:
        """(b,) Kullback-Leibler divergence from the standard normal prior (Kingma and Welling 2014, appendix B)."""
        return -0.5 * (1 + self.log_variance - self.mean.square() - self.log_variance.exp()).sum(1)


class HalfModel(nn.Module):
    """Gaussians, displacement field and encoder of one half set, and poses, quality and missing parts of its particles.

    Attributes
    ----------
    noise_power : (groups, shells)
        Expected squared modulus of a Fourier term of the masked noise, per optics group and shell.
    """

    noise_power: Tensor

    def __init__(
        self, gaussians: GaussianModel, field: DisplacementField, encoder: Encoder, poses: RefinedPoses, noise_power: Tensor
    ) -> None:
        super().__init__()
        self.gaussians, self.field, self.encoder, self.poses = gaussians, field, encoder, poses
        self.register_buffer("noise_power", noise_power)
        self.quality = ParticleQuality(len(poses.corrections), noise_power.shape[1])
        self.parts = Parts(len(poses.corrections), len(gaussians.positions))

    def displacement(self, latent: Tensor, points: Tensor | None = None) -> Tensor:
        """Displacements (b, m, 3) in A of points (m, 3) in A, the Gaussians by default, at latents (b, d)."""
        positions = self.gaussians.positions
        basis = self.field.basis_at_gaussians(positions) if points is None else self.field.basis(points)
        return combine(self.field.coefficients(latent), basis)

    def metric(self) -> Tensor:
        """(K, K) float64, of deformations by what they do to the density; see `gram_matrix`."""
        return gram_matrix(self.field.basis_at_gaussians(self.gaussians.positions), self.gaussians.amplitudes)

    @torch.no_grad()
    def set_reference(self, coefficients: Tensor) -> None:
        """Make the state with these coefficients (K,) the consensus: Gaussians lie there, and displacements start there."""
        positions, field = self.gaussians.positions, self.field
        whole = field.reference + coefficients  # from the state of latent zero
        moved = torch.einsum("k,knc->nc", whole, field.basis_at_gaussians(positions))
        origin = field.anchors if field.has_reference else positions.clone()
        field.set_anchors(origin, field.anchor_weights)
        field.set_reference(whole)
        positions.copy_(origin + moved)

    @torch.no_grad()
    def make_anew(self, latent: Tensor) -> None:
        """Make the state of a latent (d,) that of latent zero, in what is learned: every latent must become itself less this one.

        Gaussians lie there, and the fields have moved along with them, so that parts which are smeared over each other in the
        former consensus are neighbours no more. Training goes on from there; `set_reference` leaves what is learned as it is.
        """
        positions, field = self.gaussians.positions, self.field
        basis = field.basis_at_gaussians(positions)  # (K, n, 3)
        positions.add_(torch.einsum("k,knc->nc", field.coefficients(latent[None])[0], basis))
        field.hold(basis, positions)
        first = field.branch[0]
        assert isinstance(first, nn.Linear)
        first.bias.add_(first.weight @ latent)
        self.encoder.mean.bias.sub_(latent)

    def deformed(self, latent: Tensor, basis: Tensor | None = None) -> Deformed:
        """The Gaussians of particles of latents (b, d); `basis` (K, n, 3) where the fields at the Gaussians are at hand."""
        positions = self.gaussians.positions
        basis = self.field.basis_at_gaussians(positions) if basis is None else basis
        return Deformed(positions, self.field.coefficients(latent), basis)

    def at_rest(self, b: int) -> Deformed:
        """The Gaussians of b particles in which nothing moves."""
        return undeformed(self.gaussians.positions, b)

    def project(self, points: Deformed, matrices: Tensor, shifts: Tensor, projector: Projector, n_terms: int) -> Tensor:
        """Fourier terms (b, q) of the projections of Gaussians at points, all of them there, CTF not applied."""
        return self.project_as(self.gaussians.class_amplitudes()[None], points, matrices, shifts, projector, n_terms)[:, 0]

    def project_present(
        self, points: Deformed, matrices: Tensor, shifts: Tensor, projector: Projector, n_terms: int, index: Tensor
    ) -> Tensor:
        """`project` the particles at `index` (b,) without what they lack; through what they lack no gradient flows."""
        if not len(self.parts):
            return self.project(points, matrices, shifts, projector, n_terms)
        amplitudes = self.gaussians.class_amplitudes() * self.parts.present(index)[:, None, None]  # (b, 1, c, n)
        return self.project_as(amplitudes, points, matrices, shifts, projector, n_terms)[:, 0]

    def project_parts(self, points: Deformed, matrices: Tensor, shifts: Tensor, projector: Projector, n_terms: int) -> Tensor:
        """The same of what every particle has, and of each part that some lack: (b, 1 + R, q); `Parts.assembled` adds them up."""
        amplitudes = self.gaussians.class_amplitudes()[None]
        amplitudes = amplitudes * self.parts.channels()[:, None] if len(self.parts) else amplitudes
        return self.project_as(amplitudes, points, matrices, shifts, projector, n_terms)

    def poses_of(self, batch: ObservedBatch) -> tuple[Tensor, Tensor]:
        """Refined rotations and shifts of the images of a batch, as a `Projector` takes them."""
        matrices, shifts = self.poses(batch.index, batch.matrices, batch.shifts, batch.views)
        return matrices, shifts

    def project_batch(self, points: Deformed, batch: ObservedBatch, projector: Projector, n_terms: int) -> Tensor:
        """`project_parts` of a batch of particles at their refined poses: (b, 1 + R, q)."""
        matrices, shifts = self.poses_of(batch)
        return self.project_parts(points, matrices, shifts, projector, n_terms)

    def project_as(
        self, amplitudes: Tensor, points: Deformed, matrices: Tensor, shifts: Tensor, projector: Projector, n_terms: int
    ) -> Tensor:
        """Fourier terms (b, r, q) of r choices of amplitudes, (r, c, n), or (b, r, c, n) of each particle, for c widths."""
        terms = projector(points, matrices, shifts, amplitudes.flatten(-3, -2), n_terms)  # (b, r c, q)
        transfer = self.gaussians.transfer(projector.band.squared_frequencies[:n_terms])  # (c, q)
        if len(transfer) == 1:
            return terms * transfer[0]  # such a sum would be another pass
        whole: Tensor = (terms.unflatten(1, amplitudes.shape[-3:-1]) * transfer).sum(2)
        return whole

    @torch.no_grad()
    def judge_parts(self, batch: ObservedBatch, parts: Tensor, band: Band, *, n_terms: int, independent_fraction: float) -> None:
        """Work out which parts a batch has, from its projections in parts (b, 1 + R, q) as they are now; see `Parts.judge`."""
        if not len(self.parts):
            return
        seen = min(n_terms, band.n_terms(PRESENCE_RESOLUTION_ANGSTROMS))
        transfer = self.transfer(batch, seen)
        residual = batch.spectra[:, :seen] - transfer * self.parts.assembled(parts[:, :, :seen], batch.index)
        weights = independent_fraction * band.weights[:seen] * self.precision(band, seen)[batch.group]
        self.parts.judge(batch.index, residual, transfer[:, None] * parts[:, 1:, :seen], weights)

    def transfer(self, batch: ObservedBatch, n_terms: int) -> Tensor:
        """(b, q) factor between a projection's term and the observed one: the CTF times the particle's scale."""
        return batch.ctf[:, :n_terms] * self.quality.scale[batch.index][:, None]

    def precision(self, band: Band, n_terms: int) -> Tensor:
        """(groups, q) inverse noise power of each of the first `n_terms` terms, per optics group."""
        return (1 / self.noise_power)[:, band.shells[:n_terms]]

    def encode(
        self, batch: ObservedBatch, projector: Projector, n_terms: int, poses: tuple[Tensor, Tensor] | None = None
    ) -> Posterior:
        """Posterior of the latents of a batch, (b, d), from the coarse of the first `n_terms` Fourier terms.

        `poses`: those of `poses_of` where they are at hand. The encoder has learned differences
        from the state of latent zero: it is of no use once another state is the reference.
        """
        n_terms = min(n_terms, projector.band.n_terms(FINEST_ANGSTROMS))
        with torch.no_grad():
            matrices, shifts = poses or self.poses_of(batch)
            parts = self.project_parts(self.at_rest(len(matrices)), matrices, shifts, projector, n_terms)
            consensus = self.parts.assembled(parts, batch.index)
            transfer = self.transfer(batch, n_terms)
            difference = batch.spectra[:, :n_terms] - transfer * consensus
            # CTF / noise amplitude: every term counts by its signal to noise ratio
            difference = difference * transfer * self.precision(projector.band, n_terms).sqrt()[batch.group]
            images, pixels_per_angstrom = real_space(difference, projector.band, n_terms)
        return Posterior(*self.encoder(images, pixels_per_angstrom, matrices, shifts, projector.backend))


def real_space(terms: Tensor, band: Band, n_terms: int) -> tuple[Tensor, float]:
    """Images (b F, M, M) of Fourier terms (b, q), on the coarsest grid that holds them, and their pixels per A.

    Terms of unit power give a variance of 1, or a few hundredths less: those at kx = 0, of which the band holds both of a pair,
    are counted twice.
    """
    if band.n_views > 1:
        terms = terms.unflatten(1, (-1, band.n_views)).transpose(1, 2).flatten(0, 1)
        band, n_terms = band.of_view, n_terms // band.n_views
    harmonics = band.harmonics[:n_terms]
    size = 2 * band.highest(n_terms) + 2
    plane = terms.new_zeros(len(terms), size * (size // 2 + 1))
    plane[:, (harmonics[:, 1] % size) * (size // 2 + 1) + harmonics[:, 0]] = terms
    images = irfft2(plane.view(-1, size, size // 2 + 1), size)
    return images * (size**2 / (2 * n_terms) ** 0.5), size / band.box_length_angstroms
