"""What a window shows of a half set, or of both on held-out particles: states as surfaces and Gaussians. Free of Qt."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jobtypes.dynamight.model.result import ForwardResult
from jobtypes.dynamight.visualization.colourings import Colouring
from jobtypes.dynamight.visualization.held_out import HeldOutParticles, held_out_particles
from jobtypes.dynamight.visualization.reductions import Reduction
from jobtypes.dynamight.visualization.session import Session
from jobtypes.dynamight.visualization.state_surfaces import CarriedSurfaces, GaussianSurfaces, Mesh, StateSurfaces
from jobtypes.dynamight.visualization.states import GaussianStates, half_reconstruction
from relion_jobs.contract.errors import UserError

CHOICES = ("half 1", "half 2", "0: held out of half 1", "0: held out of half 2")
FIRST_CHOICES = {1: CHOICES[0], 2: CHOICES[1], 0: CHOICES[2]}  # of option halfset
SOURCES = ("Gaussians", "deformed reconstruction")
_SAMPLE = 60  # particles
_FAR = 0.04  # of the width of the drawing: farther from every particle there are no data


@dataclass(frozen=True)
class ShownState:
    """One state, ready to be drawn.

    Attributes
    ----------
    coordinates : (D,) A
        Along the main motions.
    mesh
        Surface of its map.
    surface_values : (m,) A
        Displacement from the consensus of the Gaussian nearest to each vertex.
    positions : (n, 3) A
        Gaussians.
    displacement : (n,) A
        Their way from the consensus.
    inside
        False where the half set has no particles like it.
    particle
        Nearest particle of the session.
    other
        Surface of the same particle's state by the other half's model, in half-set 0.
    errors : (n,) A
        Difference of the two models' displacements at the Gaussians, in half-set 0.
    """

    coordinates: Tensor
    mesh: Mesh
    surface_values: NDArray[np.float64]
    positions: Tensor
    displacement: NDArray[np.float64]
    inside: bool
    particle: int
    other: Mesh | None = None
    errors: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class GaussianLook:
    """How the Gaussians of a state are drawn.

    Attributes
    ----------
    values : (n,) or (n, 3)
        Numbers, or colours.
    sizes : (n,) A
        Diameters.
    label
        Of the colour bar.
    """

    values: NDArray[np.float64]
    sizes: NDArray[np.float64]
    label: str


class HalfView:
    """A session with its surfaces and its drawing of the latent space.

    Parameters
    ----------
    session
        A half set; in half-set 0 only its held-out particles.
    held_out
        In half-set 0: these particles by both models.
    """

    def __init__(self, session: Session, held_out: HeldOutParticles | None = None) -> None:
        self.session, self.held_out = session, held_out
        self.surfaces: StateSurfaces = GaussianSurfaces(session.gaussians)
        self.reduction = session.reduction("pca", dimensions=(0, min(1, len(session.motions) - 1)))
        if held_out is not None:
            other = session.forward.halves[3 - session.half].model
            self.other_states = GaussianStates(
                other, session.box, session.pixel_size_angstroms, session.gaussians.resolution_angstroms
            )
            self.other_surfaces = GaussianSurfaces(self.other_states)

    def surfaces_of(self, source: str) -> StateSurfaces:
        """Surfaces of one of `SOURCES`; UserError where the job has no reconstruction."""
        session = self.session
        if source == SOURCES[0]:
            return GaussianSurfaces(session.gaussians)
        volume = half_reconstruction(session.job_directory, session.half, session.box, session.pixel_size_angstroms)
        if volume is None:
            raise UserError("This job has no deformed reconstruction yet; run the deformed backprojection to see its surface.")
        found = CarriedSurfaces(volume, session.pixel_size_angstroms, session.model)
        found.surface(self.consensus, found.level)  # what takes long, while nobody waits for a click
        return found

    @cached_property
    def largest_displacement(self) -> float:
        """Displacement in A from the consensus that few Gaussians of few particles exceed, at least 1: end of a colour scale."""
        some = self.session.coefficients[:: max(1, len(self.session.coefficients) // _SAMPLE)]
        moved = [torch.einsum("k,knc->nc", one, self.session.gaussians.basis).norm(dim=1).quantile(0.99) for one in some]
        return max(float(torch.stack(moved).quantile(0.95)), 1.0)

    @property
    def consensus(self) -> Tensor:
        """Coefficients (K,) of the consensus."""
        return torch.zeros_like(self.session.coefficients[0])

    def state_at(self, point: NDArray[np.float64], level: float) -> ShownState:
        """State at a point (2,) of the drawing; in half-set 0 that of the particle nearest to it."""
        distance, near = self.reduction.nearest(point, 1)
        particle = int(near[0, 0])
        if self.held_out is not None:
            return self.state_of(self.session.coordinates[particle], level, particle=particle)
        coordinates = self.session.states_at(self.reduction, point)[0]
        shown = self.state_of(coordinates, level, particle=particle)
        # where the drawing is no projection, a point between clouds of particles is the mean of states, and yet nobody is there
        is_projection = len(self.reduction.dimensions) > 0
        return shown if is_projection else replace(shown, inside=shown.inside and bool(distance[0, 0] <= _FAR))

    def state_of(self, coordinates: Tensor, level: float, *, particle: int | None = None) -> ShownState:
        """State at coordinates (D,) in A along the main motions."""
        coefficients = self.session.state_coefficients(coordinates)
        mesh = self.surfaces.surface(coefficients, level)
        positions = self.session.state_positions(coordinates)
        displacement = (positions - self.session.model.gaussians.positions.cpu()).norm(dim=1).double().numpy()
        if particle is None:
            particle = int((self.session.coordinates - coordinates).square().sum(1).argmin())
        shown = ShownState(
            coordinates,
            mesh,
            mesh.values_of(positions, displacement),
            positions,
            displacement,
            not bool(self.session.outside(coordinates[None])[0]),
            particle,
        )
        if self.held_out is None:
            return shown
        assert self.session.part.latent_by_other is not None
        latent = self.session.part.latent_by_other[particle]
        other = self.other_states.model.field.coefficients(latent[None])[0]
        # the same share of the highest density in both, since the halves' models have their own scales
        other_level = level / self.surfaces.highest * self.other_surfaces.highest
        errors = self.held_out.gaussian_errors(self.session.half, particle).double().numpy()
        return replace(shown, inside=True, other=self.other_surfaces.surface(other, other_level), errors=errors)

    def surface_of_consensus(self, level: float) -> Mesh:
        """Surface of the consensus map."""
        return self.surfaces.surface(self.consensus, level)

    def colouring(self, name: str, n_clusters: int, seed: int) -> Colouring:
        """What the particles are coloured by."""
        clusters = self.session.clusters(n_clusters, seed) if name == "cluster" else None
        return self.session.colouring(name, self.reduction, clusters)

    def gaussian_look(self, shown: ShownState, name: str) -> GaussianLook:
        """Gaussians of a state by one of `colourings.GAUSSIAN_COLOURINGS`; in half-set 0 by what the halves disagree about."""
        if shown.errors is not None:
            return GaussianLook(shown.errors, 1.0 + shown.errors, "disagreement of the halves (Å)")
        colouring = self.session.gaussian_colouring(name, shown.coordinates)
        values = colouring.values if colouring.colours is None else colouring.colours
        assert values is not None
        sizes = 2 * self.session.model.gaussians.mean_widths_angstroms.cpu().double().numpy()
        return GaussianLook(values, sizes, colouring.label)

    def reduce(self, method: str, seed: int) -> Reduction:
        """Draw the particles in another way."""
        dimensions = (0, min(1, len(self.session.motions) - 1)) if method == "pca" else (0, 1)
        return self.session.reduction(method, dimensions=dimensions, seed=seed)


def open_view(choice: str, forward: ForwardResult, job_directory: Path) -> HalfView:
    """Open one of `CHOICES` of a job; UserError where there is no half-set 0."""
    half = int(choice[-1])
    if not choice.startswith("0"):
        return HalfView(Session(job_directory, forward, half))
    held_out = held_out_particles(forward)
    part = forward.halves[half]
    chosen = torch.from_numpy(part.held_out).to(part.latent_mean.device)
    restricted = replace(
        part,
        rows=part.rows[part.held_out],
        held_out=part.held_out[part.held_out],
        latent_mean=part.latent_mean[chosen],
        latent_log_variance=part.latent_log_variance[chosen],
        angles_matrices=part.angles_matrices[chosen],
        shifts_angstroms=part.shifts_angstroms[chosen],
        rms_displacement=part.rms_displacement[chosen],
        quality=part.quality[chosen],
        scale=part.scale[chosen],
    )
    halves = {**forward.halves, half: restricted}
    return HalfView(Session(job_directory, replace(forward, halves=halves), half), held_out)
