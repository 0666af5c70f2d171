"""Which states are to be mapped."""

from __future__ import annotations

from pathlib import Path

import torch

from jobtypes.common.particles import ParticleTable
from jobtypes.dynamight.options import StatesOptions
from jobtypes.dynamight.visualization.given_states import GivenState, states_of_latents, states_of_particles
from jobtypes.dynamight.visualization.session import Session
from jobtypes.dynamight.visualization.written_states import read_states
from relion_jobs.contract.errors import UserError


def chosen_states(
    session: Session, options: StatesOptions, table: ParticleTable, project: Path
) -> tuple[list[GivenState], list[str]]:
    """States in the order in which they are numbered, and sentences of warning about them.

    Raises
    ------
    UserError
        A list cannot be read, none is given though states are to be listed, or the half set has no such main motion.
    """
    warnings: list[str] = []
    if options.states_at == "motion":
        number = options.states_motion
        path = session.traversal(number - 1, options.n_states)
        states = [GivenState(f"main motion {number}, {float(at[number - 1]):+.1f} A", at) for at in path]
    elif options.states_at == "clusters":
        centres = session.clusters(options.n_clusters, options.seed).centres
        states = [GivenState(f"cluster {number}", centre) for number, centre in enumerate(centres, start=1)]
    else:
        states, warnings = _listed(session, options, table, project)
    outside = session.outside(torch.stack([state.coordinates for state in states]))
    names = ", ".join(state.name for state, is_outside in zip(states, outside, strict=True) if is_outside)
    return states, [*warnings, *([f"Outside the data, where no particle is near: {names}."] if names else [])]


def _listed(session: Session, options: StatesOptions, table: ParticleTable, project: Path) -> tuple[list[GivenState], list[str]]:
    states: list[GivenState] = []
    warnings: list[str] = []
    if options.particles_file:
        found, elsewhere = states_of_particles(session, project / options.particles_file, table)
        states += found
        if elsewhere:
            other = 3 - session.half
            warnings.append(f"{elsewhere} particle(s) of {options.particles_file} belong to half {other} and are left out.")
    if options.latents_file:
        states += states_of_latents(session, project / options.latents_file)
    if options.states_file:
        listed = read_states(project / options.states_file, len(session.motions))
        states += [GivenState(name, coordinates) for name, coordinates in listed]
    if not states:
        raise UserError("No list of states is given; name one in particles_file, latents_file or states_file.")
    return states, warnings
