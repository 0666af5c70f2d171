"""One half set of a job, opened to be looked at. Free of Qt and napari: a window and the headless task drive the same object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch import Tensor

from jobtypes.common.team import Team
from jobtypes.dynamight.model.disagreement import held_out_errors
from jobtypes.dynamight.model.principal_motions import PrincipalMotions
from jobtypes.dynamight.model.result import ForwardResult, HalfResult, load_centred_result
from jobtypes.dynamight.outputs import motions_of, training_resolution
from jobtypes.dynamight.visualization.colourings import Colouring, colour_gaussians, colour_particles
from jobtypes.dynamight.visualization.held_out import held_out_particles
from jobtypes.dynamight.visualization.reductions import Reduction, reduce
from jobtypes.dynamight.visualization.states import CarriedReconstruction, GaussianStates, StateMaps, half_reconstruction
from relion_jobs.contract.errors import UserError

_TRAVERSED = (2.0, 98.0)  # percentiles of the particles between which a traversal runs
_BANDWIDTH = 0.25  # of the local mean along a traversal, in standard deviations
_NEIGHBOURS = 24  # particles whose mean state stands for a point between them
_OUTSIDE_NEIGHBOUR, _OUTSIDE_FACTOR = 5, 1.5  # see `outside`


@dataclass(frozen=True)
class Clusters:
    """Particles in groups of like states.

    Attributes
    ----------
    labels : (P,)
        Cluster of each particle, from 0, in the order of the first main motion.
    centres : (C, D)
        Coordinates along the main motions, in A, of the particle in the middle of each cluster.
    particles : (C,)
        That particle: index into the half set.
    """

    labels: NDArray[np.int64]
    centres: Tensor
    particles: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.particles)


class Session:
    """A half set of a job.

    Parameters
    ----------
    job_directory
        Relative to the project directory or absolute.
    forward
        The job's forward deformations.
    half
        1 or 2.
    team
        The processes that draw movies together; None: this one alone.
    """

    def __init__(self, job_directory: Path, forward: ForwardResult, half: int, team: Team | None = None) -> None:
        self.team = team or Team()
        self.job_directory, self.forward, self.half = Path(job_directory), forward, half
        self.part: HalfResult = forward.halves[half]
        self.model = self.part.model
        self.box, self.pixel_size_angstroms = forward.box, forward.pixel_size_angstroms

    @classmethod
    def open(
        cls, job_directory: Path, half: int, checkpoint_file: str | None = None, device: torch.device | str = "cpu"
    ) -> Session:
        """Open a job's checkpoint; UserError as `load_centred_result`."""
        return cls(job_directory, load_centred_result(job_directory, checkpoint_file, device), half)

    @cached_property
    def coefficients(self) -> Tensor:
        """(P, K) coefficients of every particle's deformation."""
        return self.model.field.coefficients(self.part.latent_mean).detach()

    @cached_property
    def motions(self) -> PrincipalMotions:
        """Main motions of the half set."""
        return motions_of(self.part)

    @cached_property
    def coordinates(self) -> Tensor:
        """(P, D) position of every particle along the main motions, A."""
        return self.motions.coordinates(self.coefficients.cpu())

    @cached_property
    def gaussians(self) -> GaussianStates:
        """States as moved Gaussians."""
        resolution = training_resolution(self.job_directory, self.forward)
        return GaussianStates(self.model, self.box, self.pixel_size_angstroms, resolution)

    @cached_property
    def maps(self) -> StateMaps:
        """The sharpest maps of states that this job allows: its deformed reconstruction, else the Gaussians."""
        volume = half_reconstruction(self.job_directory, self.half, self.box, self.pixel_size_angstroms)
        if volume is None:
            return self.gaussians
        words = f"the deformed reconstruction of half {self.half}, carried along the deformation to the state"
        return CarriedReconstruction(volume, self.pixel_size_angstroms, self.model, words)

    @property
    def least_moved(self) -> int:
        """Particle with the least motion: nearest to the consensus."""
        return int(self.part.rms_displacement.argmin())

    def state_map(self, coordinates: Tensor, lacking: Sequence[int] = ()) -> Tensor:
        """Map (N, N, N) of the state at coordinates (D,) in A along the main motions, without the parts of some numbers."""
        coefficients = self.state_coefficients(coordinates)
        volume = self.maps.state(coefficients)
        if lacking:  # also of a reconstruction, which is no sum of parts
            volume = volume * self.gaussians.density_left(coefficients, self.part.there(lacking)).to(volume)
        return volume.cpu()

    def state_positions(self, coordinates: Tensor) -> Tensor:
        """Gaussians (n, 3) A of the state at coordinates (D,)."""
        return self.gaussians.positions(self.state_coefficients(coordinates)).cpu()

    def state_coefficients(self, coordinates: Tensor) -> Tensor:
        """Coefficients (K,) of the state at coordinates (D,)."""
        return self.motions.coefficients(coordinates[None])[0].to(self.coefficients.device)

    def latent_states(self, latents: Tensor) -> Tensor:
        """Coordinates (m, D) in A of the states of latents (m, d)."""
        coefficients = self.model.field.coefficients(latents.to(self.coefficients))
        return self.motions.coordinates(coefficients.detach().cpu())

    def traversal(self, motion: int, n_frames: int) -> Tensor:
        """States along a main motion, through where the particles are.

        The path runs between the 2nd and the 98th percentile of the particles along the motion, in equal steps; the other
        coordinates follow the particles' local mean, so that a curved path of the molecule is not cut short.

        Parameters
        ----------
        motion
            0 for the largest.
        n_frames
            States F.

        Returns
        -------
        (F, D) A
            Their coordinates.
        """
        if motion >= len(self.motions):
            raise UserError(f"Motion {motion + 1} was asked for, but half {self.half} has {len(self.motions)} main motions.")
        ends = np.percentile(self.coordinates[:, motion].numpy(), _TRAVERSED)
        return self.states_along(motion, torch.linspace(float(ends[0]), float(ends[1]), n_frames))

    def states_along(self, motion: int, steps: Tensor) -> Tensor:
        """States (F, D) A at places (F,) A along a main motion, from 0, whose other coordinates are the particles' local mean."""
        along = self.coordinates[:, motion]
        width = max(_BANDWIDTH * float(along.std(correction=0)), 1e-6)
        kernel = torch.exp(-0.5 * ((steps[:, None] - along) / width).square())  # (F, P)
        path = kernel @ self.coordinates / kernel.sum(1, keepdim=True)
        path[:, motion] = steps
        return path

    def outside(self, coordinates: Tensor) -> NDArray[np.bool_]:
        """Which states (m, D) lie outside the data, (m,): there the model has seen no particle and only extrapolates.

        A state is outside if its 5th nearest particle is more than 1.5 times as far away as that of 99.9 % of the particles.
        """
        distance, _ = self._tree.query(coordinates.numpy(), k=[min(_OUTSIDE_NEIGHBOUR, len(self.coordinates))])
        return np.asarray(distance[:, 0] > _OUTSIDE_FACTOR * self._sparsest)

    def states_on(self, places: NDArray[np.float64]) -> Tensor:
        """States (F, D) A at places (F, c) A along the first main motion or the first two, all else the particles' local mean."""
        if places.shape[1] == 1:
            return self.states_along(0, torch.from_numpy(places[:, 0]).float())
        return self.states_at(self.reduction("pca", dimensions=(0, 1)), places)

    @cached_property
    def _tree(self) -> cKDTree:
        return cKDTree(self.coordinates.numpy())

    @cached_property
    def _sparsest(self) -> float:
        """99.9th percentile of the distance in A between a particle and its 5th nearest other one, from a draw of particles."""
        drawn = np.random.default_rng(0).permutation(len(self.coordinates))[:4000]
        nth = min(_OUTSIDE_NEIGHBOUR + 1, len(self.coordinates))  # the first is the particle itself
        distance, _ = self._tree.query(self.coordinates[drawn].numpy(), k=[nth])
        return float(np.quantile(distance, 0.999))

    @cached_property
    def held_out_error(self) -> NDArray[np.float64]:
        """(P,) disagreement of the two halves' models in A about each particle; nan where it is not known."""
        return held_out_errors(self.forward, self.half)

    @torch.no_grad()
    def other_half_coordinates(self) -> Tensor:
        """(P', D) A along this half's main motions of the particles of the other half, by their own model.

        Both halves are taken about their mean state, since which conformation a half calls its consensus is its own choice.
        """
        other = self.forward.halves[3 - self.half]
        coefficients = other.model.field.coefficients(other.latent_mean)
        return ((coefficients - coefficients.mean(0)) @ self.projection_of_other_half).cpu()

    @cached_property
    @torch.no_grad()
    def projection_of_other_half(self) -> Tensor:
        """(L, D) that turns coefficients (L,) of the other half's model into coordinates (D,) A along this one's main motions."""
        other, gaussians = self.forward.halves[3 - self.half], self.model.gaussians
        weights = gaussians.amplitudes / gaussians.amplitudes.sum()
        motions = torch.einsum("dk,knc->dnc", self.motions.from_coordinates.to(weights), self.gaussians.basis)
        theirs = other.model.field.basis(gaussians.positions)
        projection: Tensor = torch.einsum("n,knc,dnc->kd", weights, theirs, motions)
        return projection

    def to_own_coordinates(self, session: Session) -> Tensor:
        """(K, D), on the CPU, from coefficients of a session of this half or of the other to this half's main motions, A."""
        return (self.motions.to_coordinates if session.half == self.half else self.projection_of_other_half).cpu()

    def of_other_half(self, chosen: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Rows of the STAR file of those particles of the other half whose nearest particle of this half is chosen (P,)."""
        _, nearest = self._tree.query(self.other_half_coordinates().numpy())
        return np.asarray(self.forward.halves[3 - self.half].rows[chosen[nearest]])

    def clusters(self, count: int, seed: int) -> Clusters:
        """Group the particles by k-means along the main motions; each group is shown by its particle nearest to the centre.

        Particles that are the molecule place the centres, the others are only assigned.
        """
        from sklearn.cluster import KMeans

        coordinates = self.coordinates.numpy()
        good = coordinates[self.part.good.cpu().numpy()]
        count = min(count, len(np.unique(good, axis=0)))
        found = KMeans(count, n_init=4, random_state=seed).fit(good)
        order = np.argsort(found.cluster_centers_[:, 0])
        assigned = found.labels_ if len(good) == len(coordinates) else found.predict(coordinates)
        labels = np.argsort(order)[assigned]
        distance = ((coordinates - found.cluster_centers_[assigned]) ** 2).sum(1)
        particles = np.array([np.flatnonzero(labels == c)[distance[labels == c].argmin()] for c in range(count)])
        return Clusters(labels.astype(np.int64), self.coordinates[particles], particles)

    def reduction(self, method: str = "pca", *, dimensions: tuple[int, int] = (0, 1), seed: int = 1) -> Reduction:
        """The particles in two dimensions; see `reductions.reduce`."""
        latents = self.part.latent_mean.cpu().double().numpy()
        return reduce(self.coordinates.double().numpy(), latents, method, dimensions=dimensions, seed=seed)

    def states_at(self, reduction: Reduction, points: NDArray[np.float64]) -> Tensor:
        """States of points (m, 2) of the drawn latent space: (m, D) coordinates in A.

        Where the two axes are main motions or latent dimensions a state has exactly the values of the point there. Everything
        that the drawing does not show is the mean over the nearest particles, which weigh less the farther they are.
        """
        points = np.atleast_2d(np.asarray(points, dtype=np.float64))
        distance, index = reduction.nearest(points, _NEIGHBOURS)
        weight = np.exp(-2 * (distance / np.maximum(distance[:, -1:], 1e-12)) ** 2)
        share = torch.from_numpy(weight / weight.sum(1, keepdims=True)).float()  # (m, k)
        shown = torch.from_numpy(points[:, : len(reduction.dimensions)]).float()
        if reduction.method == "raw":
            latents = torch.einsum("mk,mkd->md", share, self.part.latent_mean.cpu()[index])
            latents[:, reduction.dimensions] = shown
            return self.latent_states(latents)
        states = torch.einsum("mk,mkd->md", share, self.coordinates[index])
        if reduction.dimensions:
            states[:, reduction.dimensions] = shown
        return states

    def colouring(self, name: str, reduction: Reduction, clusters: Clusters | None = None) -> Colouring:
        """What the particles are coloured by, one of `colourings.PARTICLE_COLOURINGS`; only ``cluster`` needs clusters."""
        labels = np.zeros(len(self.coordinates), dtype=np.int64) if clusters is None else clusters.labels
        return colour_particles(
            self.part, name, points=reduction.points, clusters=labels, held_out_error=lambda: self.held_out_error
        )

    def gaussian_colouring(self, name: str, coordinates: Tensor) -> Colouring:
        """What the Gaussians of the state at (D,) are coloured by, one of `colourings.GAUSSIAN_COLOURINGS`."""
        return colour_gaussians(self.part, name, self.state_positions(coordinates), lambda: self.disagreement)

    @cached_property
    def disagreement(self) -> Tensor:
        """(n,) A of the halves' models about held-out particles at each Gaussian; UserError as `held_out_particles`."""
        return held_out_particles(self.forward).disagreements[self.half].gaussian_error
