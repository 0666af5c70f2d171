"""Which states are to be mapped."""

from __future__ import annotations

from pathlib import Path

from jobtypes.common.particles import ParticleTable
from jobtypes.dynamight.options import StatesOptions
from jobtypes.dynamight.visualization.given_states import GivenState, states_of_latents, states_of_particles
from jobtypes.dynamight.visualization.session import Session
from jobtypes.dynamight.visualization.written_states import read_states
from relion_jobs.contract.errors import UserError


def chosen_states(session: Session, options: StatesOptions, table: ParticleTable, project: Path) -> list[GivenState]:
    """States in the order in which they are numbered.

    Raises
    ------
    UserError
        A list cannot be read, none is given though states are to be listed, or the half set has no such main motion.
    """
    if options.states_at == "motion":
        number = options.states_motion
        path = session.traversal(number - 1, options.n_states)
        return [GivenState(f"main motion {number}, {float(at[number - 1]):+.1f} A", at) for at in path]
    if options.states_at == "clusters":
        centres = session.clusters(options.n_clusters, options.seed).centres
        return [GivenState(f"cluster {number}", centre) for number, centre in enumerate(centres, start=1)]
    return _listed(session, options, table, project)


def _listed(session: Session, options: StatesOptions, table: ParticleTable, project: Path) -> list[GivenState]:
    states: list[GivenState] = []
    if options.particles_file:
        states += states_of_particles(session, project / options.particles_file, table)[0]
    if options.latents_file:
        states += states_of_latents(session, project / options.latents_file)
    if options.states_file:
        listed = read_states(project / options.states_file, len(session.motions))
        states += [GivenState(name, coordinates) for name, coordinates in listed]
    if not states:
        raise UserError("No list of states is given; name one in particles_file, latents_file or states_file.")
    return states
