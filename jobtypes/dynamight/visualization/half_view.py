"""What a window shows of a half set, or of both on held-out particles: states as surfaces and Gaussians. Free of Qt."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jobtypes.common.volumes import check_map, read_volume
from jobtypes.dynamight import layout
from jobtypes.dynamight.model.gaussians import automatic_threshold
from jobtypes.dynamight.model.result import ForwardResult
from jobtypes.dynamight.visualization.colourings import GAUSSIAN_COLOURINGS, PARTICLE_COLOURINGS, Colouring
from jobtypes.dynamight.visualization.held_out import HeldOutParticles, held_out_particles
from jobtypes.dynamight.visualization.landscape.overview import Overview, overview_of
from jobtypes.dynamight.visualization.landscape.populations import Landscape
from jobtypes.dynamight.visualization.reductions import Reduction
from jobtypes.dynamight.visualization.session import Session
from jobtypes.dynamight.visualization.state_surfaces import CarriedSurfaces, GaussianSurfaces, Mesh, StateSurfaces, fine_contour
from jobtypes.dynamight.visualization.states import GaussianStates, half_reconstruction
from jobtypes.dynamight.visualization.written_states import read_states
from relion_jobs.contract.errors import UserError

CHOICES = ("half 1", "half 2", "0: held out of half 1", "0: held out of half 2")
FIRST_CHOICES = {1: CHOICES[0], 2: CHOICES[1], 0: CHOICES[2]}  # of option halfset
SOURCES = ("Gaussians", "deformed reconstruction")
ENERGY = "energy"
VIEW_COLOURINGS = (*PARTICLE_COLOURINGS, ENERGY)
SURFACE_COLOURINGS = (*GAUSSIAN_COLOURINGS[:3], "one colour")
_SAMPLE = 60  # particles
_HIGHEST_PERCENTILE = 99.5  # of the values of Gaussians, where a scale ends
_FAR = 0.04  # of the width of the drawing: farther from every particle there are no data


@dataclass(frozen=True)
class MappedState:
    """A state whose map was made from the images of the particles around it.

    Attributes
    ----------
    number, name
        From 1, and in words.
    coordinates : (D,) A
        Along the main motions.
    """

    number: int
    name: str
    coordinates: Tensor


@dataclass(frozen=True)
class ShownState:
    """One state, ready to be drawn.

    Attributes
    ----------
    coordinates : (D,) A
        Along the main motions.
    mesh
        Surface of its map.
    nearest : (m,)
        Gaussian nearest to each vertex.
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
    mapped
        What the surface is of, where it is of a map made from images.
    """

    coordinates: Tensor
    mesh: Mesh
    nearest: NDArray[np.int64]
    positions: Tensor
    displacement: NDArray[np.float64]
    inside: bool
    particle: int
    other: Mesh | None = None
    errors: NDArray[np.float64] | None = None
    mapped: MappedState | None = None


@dataclass(frozen=True)
class DrawnLandscape:
    """What of the populations is drawn over the particles.

    Attributes
    ----------
    plane
        Density in the plane of the drawing; None: its axes are others.
    places : (S, 2)
        Of the stable states.
    """

    plane: Landscape | None
    places: NDArray[np.float64]


@dataclass(frozen=True)
class SurfaceLook:
    """How the surface of a state is coloured.

    Attributes
    ----------
    values : (m,)
        At its vertices.
    ends
        Of the scale: what is pale, and what is red.
    label
        Of the colour bar; empty: all in one colour.
    """

    values: NDArray[np.float64]
    ends: tuple[float, float]
    label: str


@dataclass(frozen=True)
class GaussianLook:
    """How the Gaussians of a state are drawn.

    Attributes
    ----------
    values : (n,) or (n, 3)
        Numbers, or colours.
    ends
        Of the scale of numbers.
    sizes : (n,) A
        Diameters.
    label
        Of the colour bar.
    """

    values: NDArray[np.float64]
    ends: tuple[float, float]
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
        self.surfaces: StateSurfaces = GaussianSurfaces(session.gaussians, for_clicks=True)
        self.reduction = session.reduction("pca", dimensions=(0, min(1, len(session.motions) - 1)))
        if held_out is not None:
            other = session.forward.halves[3 - session.half].model
            self.other_states = GaussianStates(
                other, session.box, session.pixel_size_angstroms, session.gaussians.resolution_angstroms
            )
            self.other_surfaces = GaussianSurfaces(self.other_states, for_clicks=True)

    def surfaces_of(self, source: str) -> StateSurfaces:
        """Surfaces of one of `SOURCES`; UserError where the job has no reconstruction."""
        session = self.session
        if source == SOURCES[0]:
            return GaussianSurfaces(session.gaussians, for_clicks=True)
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

    def again(self, shown: ShownState, level: float) -> ShownState:
        """The same state at another contour level."""
        if shown.mapped is not None:
            return self.state_from_images(shown.mapped, level)
        return self.state_of(shown.coordinates, level, particle=shown.particle)

    def state_of(self, coordinates: Tensor, level: float, *, particle: int | None = None) -> ShownState:
        """State at coordinates (D,) in A along the main motions."""
        return self._with_surface(
            self.surfaces.surface(self.session.state_coefficients(coordinates), level), coordinates, level, particle
        )

    def mapped_states(self) -> list[MappedState]:
        """States that have maps made from images; none in half-set 0."""
        path = self.session.job_directory / layout.mapped_states(self.session.half)
        if self.held_out is not None or not path.is_file():
            return []
        listed = read_states(path, len(self.session.motions))
        return [MappedState(number, name, coordinates) for number, (name, coordinates) in enumerate(listed, start=1)]

    def state_from_images(self, mapped: MappedState, level: float) -> ShownState:
        """The filtered map of a state that was made from images, contoured as high in itself as `level` is in the other surfaces.

        Raises
        ------
        UserError
            Its map is gone, or is not of the particles' box.
        """
        volume = self._mapped_volume(mapped)
        own_level = level / self.surfaces.level * automatic_threshold(volume)
        mesh = fine_contour(volume, self.session.pixel_size_angstroms, own_level)
        return replace(self._with_surface(mesh, mapped.coordinates, level, None), mapped=mapped)

    def _mapped_volume(self, mapped: MappedState) -> Tensor:
        path = self.session.job_directory / layout.state_map(mapped.number)
        volume = read_volume(path)
        check_map(volume, self.session.box, self.session.pixel_size_angstroms, f"The map {path}")
        return volume.data

    def _with_surface(self, mesh: Mesh, coordinates: Tensor, level: float, particle: int | None) -> ShownState:
        positions = self.session.state_positions(coordinates)
        displacement = (positions - self.session.model.gaussians.positions.cpu()).norm(dim=1).double().numpy()
        if particle is None:
            particle = int((self.session.coordinates - coordinates).square().sum(1).argmin())
        shown = ShownState(
            coordinates,
            mesh,
            mesh.about_nearest_of(positions),
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

    def surface_look(self, shown: ShownState, name: str) -> SurfaceLook:
        """Surface of a state by one of `SURFACE_COLOURINGS`.

        Raises
        ------
        UserError
            The disagreement of the half sets is asked for, and there is none.
        """
        if name not in GAUSSIAN_COLOURINGS:
            return SurfaceLook(np.zeros(len(shown.mesh.vertices)), (0.0, 1.0), "")
        colouring = self.session.gaussian_colouring(name, shown.coordinates)
        assert colouring.values is not None
        return SurfaceLook(colouring.values[shown.nearest], self._ends(colouring), colouring.label)

    def _ends(self, colouring: Colouring) -> tuple[float, float]:
        """Of the scale of what colours surfaces and Gaussians; all of a molecule is red where hardly anything lies higher."""
        if colouring.is_share:
            return (1.0, 0.0)
        if colouring.name == "displacement":
            return (0.0, self.largest_displacement)
        assert colouring.values is not None
        return (0.0, max(float(np.percentile(colouring.values, _HIGHEST_PERCENTILE)), 1e-6))

    @cached_property
    def overview(self) -> Overview:
        """Populations along this half set's main motions, and stable states; takes seconds.

        Raises
        ------
        UserError
            Half-set 0 is shown, of few particles.
        """
        if self.held_out is not None:
            raise UserError("Populations are those of whole half sets; show half 1 or 2.")
        other = Session(self.session.job_directory, self.session.forward, 3 - self.session.half)
        sessions = {session.half: session for session in (self.session, other)}
        return overview_of(dict(sorted(sessions.items())), self.session.half, seed=1)

    def stable_places(self) -> Tensor:
        """(S, D) A of the stable states."""
        return self.session.states_on(np.array([state.place for state in self.overview.states]))

    @property
    def drawn_landscape(self) -> DrawnLandscape:
        """The populations as they belong into the drawing."""
        plane = self.overview.widest
        is_of_axes = self.reduction.method == "pca" and plane.motions == tuple(self.reduction.dimensions)
        return DrawnLandscape(plane if is_of_axes else None, self.drawn(self.stable_places()))

    def volume_of(self, shown: ShownState) -> Tensor:
        """Map (N, N, N) of a state, in the box of the particles."""
        if shown.mapped is not None:
            return self._mapped_volume(shown.mapped)
        return self.session.state_map(shown.coordinates)

    def drawn(self, states: Tensor) -> NDArray[np.float64]:
        """Where states (F, D) A lie in the drawing, (F, 2): where their nearest particles do unless its axes are main motions."""
        drawn = states[:, list(self.reduction.dimensions)].numpy() if self.reduction.method == "pca" else None
        if drawn is None or drawn.shape[1] != 2:
            drawn = self.reduction.points[torch.cdist(states, self.session.coordinates).argmin(1).numpy()]
        return np.asarray(drawn, dtype=np.float64)

    def colouring(self, name: str, n_clusters: int, seed: int) -> Colouring:
        """What the particles are coloured by, one of `VIEW_COLOURINGS`; UserError as `overview` for ``energy``."""
        if name == ENERGY:
            return Colouring(name, "energy along main motion 1 (kT)", self.overview.energies_kt(self.session.coordinates))
        clusters = self.session.clusters(n_clusters, seed) if name == "cluster" else None
        return self.session.colouring(name, self.reduction, clusters)

    def gaussian_look(self, shown: ShownState, name: str) -> GaussianLook:
        """Gaussians of a state by one of `colourings.GAUSSIAN_COLOURINGS`; in half-set 0 by what the halves disagree about."""
        if shown.errors is not None:
            ends = (0.0, max(float(shown.errors.max()), 1e-6))
            return GaussianLook(shown.errors, ends, 1.0 + shown.errors, "disagreement of the halves (Å)")
        colouring = self.session.gaussian_colouring(name, shown.coordinates)
        values = colouring.values if colouring.colours is None else colouring.colours
        assert values is not None
        sizes = 2 * self.session.model.gaussians.mean_widths_angstroms.cpu().double().numpy()
        ends = (0.0, 1.0) if colouring.values is None else self._ends(colouring)
        return GaussianLook(values, ends, sizes, colouring.label)

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
