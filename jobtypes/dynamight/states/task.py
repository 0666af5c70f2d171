"""Task "maps of states": half maps of chosen states from the particles around each of them, deformed to the state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from jobtypes.common.conventions import HALVES
from jobtypes.common.devices import choose_device
from jobtypes.common.digests import digest
from jobtypes.common.memory import keep_freed_memory
from jobtypes.common.particle_images import ParticleImages
from jobtypes.common.particles import ParticleTable
from jobtypes.common.shared_halves import device_of, share_halves
from jobtypes.common.team import Crew, Team
from jobtypes.common.volumes import read_mask
from jobtypes.dynamight import layout
from jobtypes.dynamight.backprojection.bins import Bins
from jobtypes.dynamight.backprojection.half_problem import bins_of
from jobtypes.dynamight.backprojection.memory_plan import MemoryPlan, asked_binning, plan_for, processes_for
from jobtypes.dynamight.backprojection.sums_store import SumsStore
from jobtypes.dynamight.model.result import ForwardResult, load_centred_result, particles_of, refuse_other_star
from jobtypes.dynamight.options import FREE_ON_RESUME, StatesOptions
from jobtypes.dynamight.outputs import gather_logbook
from jobtypes.dynamight.states.agreement import nearest_shell
from jobtypes.dynamight.states.chosen import chosen_states
from jobtypes.dynamight.states.figures import draw_states, draw_widths
from jobtypes.dynamight.states.half_state import HowToSolve
from jobtypes.dynamight.states.kernel import most_widths
from jobtypes.dynamight.states.making import StateMaking
from jobtypes.dynamight.states.outputs import MAPS_OF_A_STATE, WrittenStateMaps, remove_earlier, write_state, write_table
from jobtypes.dynamight.states.solved_maps import SolvedMaps
from jobtypes.dynamight.visualization.given_states import GivenState
from jobtypes.dynamight.visualization.session import Session
from jobtypes.dynamight.visualization.written_states import WrittenState, write_list, written_state
from relion_jobs.contract.errors import JobAborted, UserError
from relion_jobs.contract.options import Value
from relion_jobs.contract.running_job import RunningJob

_UNSOLVED = 1e-2  # above it where a solve ends was seen to decide what the map is


@dataclass(frozen=True)
class StatesInputs:
    """Everything that is read before the first image.

    Attributes
    ----------
    forward, table
        The trained deformations, and all particles.
    sessions
        Both halves.
    half
        In whose latent space the states are.
    states, warnings
        The chosen ones, and what to know about them.
    mask : (N, N, N)
        Of the FSC; None: around the molecule in each state.
    bins
        Of all particles of each half.
    """

    forward: ForwardResult
    table: ParticleTable
    sessions: dict[int, Session]
    half: int
    states: list[GivenState]
    warnings: list[str]
    mask: Tensor | None
    bins: dict[int, Bins]

    def sentences(self) -> list[str]:
        """What was chosen, in words."""
        names = "; ".join(f"{number}: {state.name}" for number, state in enumerate(self.states, start=1))
        return [
            f"Deformations of {self.forward.path} (epoch {self.forward.epoch}), {len(self.table)} particles.",
            f"States of half {self.half}, {names}.",
            *self.forward.sentences_of_lone_parts(),
        ]


def check(values: Mapping[str, Value], job_directory: Path) -> list[str]:
    """Validate the inputs and return the plan in sentences; called in the project. Writes nothing."""
    options = StatesOptions.from_values(values)
    device, device_sentence = choose_device(options.gpu_id)
    inputs = read_inputs(options, Path.cwd(), Path(job_directory), device)
    ParticleImages(inputs.table, Path.cwd()).verify()
    plan = _plan(inputs, options, device)
    plan.refuse_full_disk(Path(job_directory))
    return [device_sentence, *inputs.sentences(), *inputs.warnings, plan.sentence()]


def run(values: Mapping[str, Value], job: RunningJob) -> None:
    """Make the maps of all states.

    Raises
    ------
    UserError
        Bad input: no checkpoint, particles of another job, a list of states that cannot be read, damaged images.
    JobAborted
        The job was asked to stop; what it has solved is on disk and it will go on from there.
    """
    options = StatesOptions.from_values(values)
    torch.set_num_threads(options.nr_threads)
    share_halves(lambda team: make_maps(options, job, team), job, lambda: processes_for(options, job.directory))


def make_maps(options: StatesOptions, job: RunningJob, team: Team) -> None:
    """Make the maps as one of the processes of a team; the half sets share them, and the bins those of a half set."""
    keep_freed_memory()
    crew = team.crew(len(HALVES))
    torch.set_num_threads(max(1, options.nr_threads // team.local_count))
    device = device_of(options.gpu_id, team, job)
    inputs = read_inputs(options, job.project, job.directory, device)
    states, bins = team.from_first(lambda: (inputs.states, inputs.bins))
    inputs = replace(inputs, states=states, bins=bins)
    images = ParticleImages(inputs.table, job.project)
    images.verify()
    plan = _plan(inputs, options, device, halves_at_once=min(team.count, len(HALVES)))
    plan.refuse_full_disk(job.directory)
    if team.is_first:
        _say(inputs, plan, job)
    solved, store = _scratch(inputs, options, job, team, plan)
    with torch.no_grad():
        making = StateMaking(
            inputs.sessions,
            inputs.half,
            images,
            _how(inputs, options, crew),
            inputs.bins,
            store=store,
            solved=solved,
            job=job,
            team=team,
            width_angstroms=options.states_width,
        )
        try:
            written = make_all(making, inputs, job, team)
        except JobAborted:
            store.save()  # where another process was asked to stop
            raise
    if team.is_first:
        _finish(written, inputs, job)
        store.delete()
        solved.delete()


def _say(inputs: StatesInputs, plan: MemoryPlan, job: RunningJob) -> None:
    for sentence in (*inputs.sentences(), plan.sentence()):
        job.report(sentence)
    for warning in inputs.warnings:
        job.warn(warning)


def _scratch(
    inputs: StatesInputs, options: StatesOptions, job: RunningJob, team: Team, plan: MemoryPlan
) -> tuple[SolvedMaps, SumsStore]:
    """What is on disk of an unfinished run; the first process looks first, as it clears what is stale."""
    identity = belongs_to(inputs, options)

    def opened() -> tuple[SolvedMaps, SumsStore]:
        memory_bytes, gpu_bytes = (room // team.local_count for room in (plan.cache_bytes(), plan.gpu_cache_bytes()))
        store = SumsStore(
            job.directory,
            identity,
            memory_bytes=memory_bytes,
            gpu_bytes=gpu_bytes,
            task_folder=layout.STATE_MAPS,
            process=team.rank,
        )
        return SolvedMaps(job.directory, identity), store

    found = opened() if team.is_first else None
    team.meet(job.abort_requested)
    solved, store = found or opened()
    if solved.resumed:
        job.report("Going on with the maps of an earlier run.")
    return solved, store


def _finish(written: list[WrittenStateMaps], inputs: StatesInputs, job: RunningJob) -> None:
    """Write what shows all states, and say where everything is."""
    write_table(job.directory / layout.STATE_MAPS_TABLE, written)
    draw_states(job.directory / layout.STATE_MAPS_FIGURE, written)
    draw_widths(job.directory / layout.STATE_MAPS_CURVES_FIGURE, written, pixel_size_angstroms=inputs.table.pixel_size_angstroms)
    gather_logbook(job.directory, job)
    first = [layout.state_half_map(1, half).name for half in HALVES]
    job.report(
        f"Maps, curves and a table of all states are in {job.directory / layout.STATE_MAPS}/; PostProcess takes {first[0]} and "
        f"{first[1]} and their like."
    )


def make_all(making: StateMaking, inputs: StatesInputs, job: RunningJob, team: Team) -> list[WrittenStateMaps]:
    """Make the states one after the other; the first process writes them, and says what each is worth."""
    pixel, session = inputs.table.pixel_size_angstroms, inputs.sessions[inputs.half]
    finest = nearest_shell(session.gaussians.resolution_angstroms, inputs.table.box, pixel)
    if team.is_first:
        remove_earlier(job.directory)
    written: list[WrittenStateMaps] = []
    places: dict[int, list[WrittenState]] = {half: [] for half in inputs.sessions}
    for number, state in enumerate(inputs.states, start=1):
        made = making.make(number, state)
        if made is None:
            continue
        written.append(write_state(job, made, inputs.mask, pixel_size_angstroms=pixel, finest_shell=finest))
        for half, place in made.matched.coordinates.items():
            path, is_outside = job.directory / layout.state_map(number), bool(inputs.sessions[half].outside(place[None])[0])
            places[half].append(written_state(inputs.sessions[half], path, state.name, place, is_outside=is_outside))
        job.report(written[-1].sentence())
        if (doubt := written[-1].doubt()) is not None:
            job.warn(doubt)
        for half, one in made.halves.items():
            if one.residual > _UNSOLVED:
                job.warn(_unsolved(half, number, made.width.numbers[half], one.residual, session.box))
    if team.is_first:
        for half, listed in places.items():
            write_list(job.directory / layout.mapped_states(half), listed)
    return written


def _unsolved(half: int, number: int, particles: float, residual: float, box: int) -> str:
    return (
        f"The maps of half {half} of state {number} are not to be trusted: the residual stayed at {residual:.2g} of the first "
        f"one, as {particles:.0f} particles are few for a box of {box} pixels; take a wider kernel (states_width), or bin the "
        "particles."
    )


def read_inputs(options: StatesOptions, project: Path, job_directory: Path, device: torch.device) -> StatesInputs:
    """Read checkpoint, particles, mask and list of states, and refuse what does not belong together."""
    if options.halfset not in HALVES:
        raise UserError(f"States are chosen in the latent space of one half set, and halfset is {options.halfset}; give 1 or 2.")
    forward = load_centred_result(job_directory, options.fn_checkpoint, device).with_lone_parts_there()
    refuse_other_star(forward, options.fn_star, project)
    table = particles_of(forward, project, path_prefix=options.particle_path_prefix)
    mask = None
    if options.fn_fsc_mask is not None:
        name = options.fn_fsc_mask
        mask = read_mask(project / name, forward.box, forward.pixel_size_angstroms, f"Mask {name}")
    sessions = {half: Session(job_directory, forward, half) for half in HALVES}
    states, warnings = chosen_states(sessions[options.halfset], options, table, project)
    binning, pixel = asked_binning(options, forward.box), forward.pixel_size_angstroms
    bins = {half: bins_of(result, binning, pixel) for half, result in forward.halves.items()}
    return StatesInputs(forward, table, sessions, options.halfset, states, warnings, mask, bins)


def belongs_to(inputs: StatesInputs, options: StatesOptions) -> dict[str, Any]:
    """All that the maps of a run follow from: files by what they hold, states by where they are, and options."""
    star = inputs.table.path.stat()
    files = {
        "forward": inputs.forward.identity,
        "star_file": inputs.forward.star_file,
        "size": star.st_size,
        "changed": star.st_mtime_ns,
        "states": digest(*(state.coordinates for state in inputs.states)),
    }
    named = FREE_ON_RESUME | {"fn_checkpoint", "fn_star", "fn_fsc_mask", "particles_file", "latents_file", "states_file"}
    return files | {name: value for name, value in options.as_dict().items() if name not in named}


def _how(inputs: StatesInputs, options: StatesOptions, crew: Crew) -> HowToSolve:
    return HowToSolve(
        asked_binning(options, inputs.forward.box),
        options.warp_interpolation,
        options.backproject_batchsize,
        options.reconstruction_iterations,
        crew,
    )


def _plan(inputs: StatesInputs, options: StatesOptions, device: torch.device, *, halves_at_once: int = 1) -> MemoryPlan:
    """Of all particles at once, as of the widest kernel; one process has the sums of one half at a time."""
    plan = plan_for(inputs.forward, inputs.bins, options, device, halves_at_once=halves_at_once)
    particles = max(len(part.rows) for part in inputs.forward.halves.values())
    widths = 1 if options.states_width is not None else most_widths(particles, plan.box)
    solved = 2 * len(HALVES) * (1 + len(inputs.states) * widths)  # deformed and plain, and those of all particles
    return replace(plan, n_maps=solved + MAPS_OF_A_STATE * len(inputs.states), task_folder=layout.STATE_MAPS)
