"""Which particles fulfil the conditions that a user has given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jobtypes.common.particles import ParticleTable
from jobtypes.common.star_tables import read_tables
from jobtypes.dynamight import layout
from jobtypes.dynamight.model.result import ForwardResult, HalfResult
from jobtypes.dynamight.options import VisualizationOptions
from jobtypes.dynamight.visualization.given_states import listed_rows, read_corners
from jobtypes.dynamight.visualization.held_out import held_out_particles
from jobtypes.dynamight.visualization.selection import in_polygon, in_range
from jobtypes.dynamight.visualization.session import Session
from relion_jobs.contract.errors import UserError


@dataclass(frozen=True)
class Choice:
    """Conditions, of which all must hold.

    Attributes
    ----------
    half_set
        1 or 2, in whose latent space is chosen; 0: held-out particles of both halves, in the latent space of half 1.
    both_halves
        Also particles of the other half: those whose state is that of a chosen one, and which themselves fulfil what is asked of
        quality and displacement.
    latents, motions
        Ranges: dimension or main motion from 1, lowest, highest; of motions in A.
    displacement, error
        Lowest and highest rms displacement, and disagreement of the halves, in A; None: any.
    quality
        Lowest and highest probability that a particle is the molecule at its pose; None: any.
    occupancies
        Ranges: number of a part, lowest, highest probability that a particle has it.
    clusters, n_clusters
        Numbers from 1; None: the clusters of the last visualization.
    polygon, embedding, axes
        File with corners in a drawing; see `reductions.reduce`, axes from 1.
    rows
        File that lists particles; see `given_states.states_of_particles`. Where it lists some of the other half too, these are
        taken of it, and not those that are like the chosen ones.
    seed
        Of clusters, umap and ica.
    """

    half_set: int
    both_halves: bool
    latents: list[list[float]]
    motions: list[list[float]]
    displacement: list[float] | None
    error: list[float] | None
    quality: list[float] | None
    occupancies: list[list[float]]
    clusters: list[int]
    n_clusters: int | None
    polygon: Path | None
    embedding: str
    axes: tuple[int, int]
    rows: Path | None
    seed: int


def chosen_rows(forward: ForwardResult, choice: Choice, job_directory: Path, table: ParticleTable) -> NDArray[np.int64]:
    """Rows of the particle STAR file, `table`, that a choice takes, in ascending order.

    Raises
    ------
    UserError
        A condition cannot be used, there is none, or no particle fulfils all of them.
    """
    if choice.half_set != 0 and choice.error:
        raise UserError("The disagreement of the halves is known of held-out particles only; give --half-set 0 with --error.")
    of_particles = (choice.latents, choice.motions, choice.displacement, choice.quality, choice.occupancies)
    conditions = (*of_particles, choice.clusters, choice.polygon, choice.rows)
    if choice.half_set != 0 and not any(conditions):
        raise UserError(
            "No condition is given; choose by --latent, --motion, --displacement, --quality, --occupancy, --cluster, --polygon "
            "or --rows."
        )
    for number, _, _ in choice.occupancies:
        if number not in forward.part_numbers:
            found = ", ".join(map(str, forward.part_numbers)) or "none"
            raise UserError(f"There is no part {number:g} that some particles lack; found were: {found}.")
    session = Session(job_directory, forward, choice.half_set or 1)
    chosen = _of_states(session, choice)
    listed = listed_rows(choice.rows, table) if choice.rows else None
    if listed is not None:
        chosen &= np.isin(session.part.rows, listed)
    rows = session.part.rows[chosen & _of_particles(session.part, choice)]
    if choice.both_halves or choice.half_set == 0:
        other = forward.halves[3 - session.half]
        alike = session.of_other_half(chosen) if listed is None or not np.isin(other.rows, listed).any() else listed
        theirs = np.intersect1d(alike, other.rows[_of_particles(other, choice)])
        rows = np.concatenate((rows, theirs))
    if choice.half_set == 0:
        rows = np.intersect1d(rows, _held_out(forward, choice))
    if not len(rows):
        raise UserError(f"No particle fulfils all conditions; {_ranges(session)}.")
    return np.sort(rows)


def _of_particles(part: HalfResult, choice: Choice) -> NDArray[np.bool_]:
    """Which particles (P,) of a half fulfil the conditions on each by itself, which mean the same in both halves."""
    chosen = np.ones(len(part.rows), dtype=bool)
    if choice.displacement:
        chosen &= in_range(part.rms_displacement.cpu().numpy(), *_ordered(choice.displacement, "displacement"))
    if choice.quality:
        chosen &= in_range(part.quality.cpu().numpy(), *_ordered(choice.quality, "quality"))
    for number, low, high in choice.occupancies:
        chosen &= in_range(part.occupancy(int(number)), *_ordered((low, high), "occupancy"))
    return chosen


def _of_states(session: Session, choice: Choice) -> NDArray[np.bool_]:
    """Which particles (P,) of the session's half fulfil the conditions on their states, in its own latent space."""
    part = session.part
    chosen = np.ones(len(part.rows), dtype=bool)
    latents, coordinates = part.latent_mean.cpu().numpy(), session.coordinates.numpy()
    for values, ranges, what in ((latents, choice.latents, "latent dimension"), (coordinates, choice.motions, "main motion")):
        for dimension, low, high in ranges:
            if not (dimension == int(dimension) and 1 <= dimension <= values.shape[1]):
                raise UserError(f"There is no {what} {dimension:g}; the job has {values.shape[1]}, counted from 1.")
            chosen &= in_range(values[:, int(dimension) - 1], *_ordered((low, high), what))
    if choice.clusters:
        chosen &= _in_clusters(session, choice)
    if choice.polygon:
        reduction = session.reduction(choice.embedding, dimensions=(choice.axes[0] - 1, choice.axes[1] - 1), seed=choice.seed)
        chosen &= in_polygon(reduction.points, read_corners(choice.polygon))
    return chosen


def _ordered(ends: Sequence[float], what: str) -> tuple[float, float]:
    low, high = ends
    if not low <= high:
        raise UserError(f"The range of the {what} goes from {low:g} to {high:g}; give the lower end first.")
    return low, high


def _in_clusters(session: Session, choice: Choice) -> NDArray[np.bool_]:
    labels = None if choice.n_clusters else _written_clusters(session)
    if labels is None:
        # where neither the user nor an earlier visualization says how many: as in the job
        n_clusters = choice.n_clusters or VisualizationOptions.from_values({}).n_clusters
        labels = session.clusters(n_clusters, choice.seed).labels + 1
    for number in choice.clusters:
        if not 1 <= number <= labels.max():
            raise UserError(f"There is no cluster {number}; they are numbered from 1 to {labels.max()}.")
    return np.isin(labels, choice.clusters)


def _written_clusters(session: Session) -> NDArray[np.int64] | None:
    """Labels (P,) that the last visualization has written; None where there is none."""
    path = session.job_directory / layout.shown_particles(session.half)
    if not path.is_file():
        return None
    source = read_tables(path).get("particles")  # of one half, which would not do for a job's particles
    if source is None or "rlnDynamightCluster" not in source.columns or len(source) != len(session.part.rows):
        return None
    return source.read(numbers=("rlnDynamightCluster",), texts=())["rlnDynamightCluster"].astype(np.int64)


def _held_out(forward: ForwardResult, choice: Choice) -> NDArray[np.int64]:
    if not choice.error:
        return np.concatenate([part.rows[part.held_out] for part in forward.halves.values()])
    particles = held_out_particles(forward)
    return particles.rows[in_range(particles.errors, *_ordered(choice.error, "disagreement"))]


def _ranges(session: Session) -> str:
    """What values there are, for the sentence about an empty choice."""
    along = session.coordinates[:, 0]
    moved = session.part.rms_displacement
    return (
        f"half {session.half} lies between {float(along.min()):.1f} and {float(along.max()):.1f} A along main motion 1, with "
        f"displacements of {float(moved.min()):.1f} to {float(moved.max()):.1f} A"
    )
