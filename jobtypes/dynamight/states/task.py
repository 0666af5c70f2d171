"""Task "maps of states": half maps of chosen states from the particles around each of them, deformed to the state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from jobtypes.common.conventions import HALVES
from jobtypes.common.devices import choose_device, free_memory_bytes
from jobtypes.common.digests import digest
from jobtypes.common.particle_images import ParticleImages
from jobtypes.common.particles import ParticleTable
from jobtypes.common.volumes import read_mask
from jobtypes.dynamight import layout
from jobtypes.dynamight.backprojection.bins import Bins
from jobtypes.dynamight.backprojection.half_problem import bins_of
from jobtypes.dynamight.backprojection.memory_plan import MemoryPlan, asked_binning
from jobtypes.dynamight.backprojection.sums_store import SumsStore
from jobtypes.dynamight.model.result import ForwardResult, load_centred_result, particles_of, refuse_other_star
from jobtypes.dynamight.options import FREE_ON_RESUME, StatesOptions
from jobtypes.dynamight.outputs import gather_logbook
from jobtypes.dynamight.states.agreement import nearest_shell
from jobtypes.dynamight.states.chosen import chosen_states
from jobtypes.dynamight.states.figures import draw_states, draw_widths
from jobtypes.dynamight.states.half_state import HowToSolve
from jobtypes.dynamight.states.making import StateMaking
from jobtypes.dynamight.states.outputs import WrittenStateMaps, remove_earlier, write_state, write_table
from jobtypes.dynamight.states.solved_maps import SolvedMaps
from jobtypes.dynamight.visualization.given_states import GivenState
from jobtypes.dynamight.visualization.session import Session
from jobtypes.dynamight.visualization.written_states import WrittenState, write_list, written_state
from relion_jobs.contract.errors import UserError
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
        ]


def check(values: Mapping[str, Value], job_directory: Path) -> list[str]:
    """Validate the inputs and return the plan in sentences; called in the project. Writes nothing."""
    options = StatesOptions.from_values(values)
    device, device_sentence = choose_device(options.gpu_id)
    inputs = read_inputs(options, Path.cwd(), Path(job_directory), device)
    ParticleImages(inputs.table, Path.cwd()).verify()
    return [device_sentence, *inputs.sentences(), *inputs.warnings, _plan(inputs, options, device).sentence()]


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
    device, device_sentence = choose_device(options.gpu_id)
    job.report(device_sentence)
    inputs = read_inputs(options, job.project, job.directory, device)
    images = ParticleImages(inputs.table, job.project)
    images.verify()
    plan = _plan(inputs, options, device)
    for sentence in (*inputs.sentences(), plan.sentence()):
        job.report(sentence)
    for warning in inputs.warnings:
        job.warn(warning)
    identity = belongs_to(inputs, options)
    solved = SolvedMaps(job.directory, identity)
    store = SumsStore(
        job.directory,
        identity,
        memory_bytes=plan.cache_bytes(),
        gpu_bytes=plan.gpu_cache_bytes(),
        task_folder=layout.STATE_MAPS,
    )
    if solved.resumed:
        job.report("Going on with the maps of an earlier run.")
    with torch.no_grad():
        making = StateMaking(
            inputs.sessions,
            inputs.half,
            images,
            _how(inputs, options),
            inputs.bins,
            store=store,
            solved=solved,
            job=job,
            width_angstroms=options.states_width,
        )
        written = make_all(making, inputs, job)
    write_table(job.directory / layout.STATE_MAPS_TABLE, written)
    draw_states(job.directory / layout.STATE_MAPS_FIGURE, written)
    draw_widths(job.directory / layout.STATE_MAPS_CURVES_FIGURE, written, pixel_size_angstroms=inputs.table.pixel_size_angstroms)
    gather_logbook(job.directory, job)
    store.delete()
    solved.delete()
    first = [layout.state_half_map(1, half).name for half in HALVES]
    job.report(
        f"Maps, curves and a table of all states are in {job.directory / layout.STATE_MAPS}/; PostProcess takes {first[0]} and "
        f"{first[1]} and their like."
    )


def make_all(making: StateMaking, inputs: StatesInputs, job: RunningJob) -> list[WrittenStateMaps]:
    """Make and write the states one after the other, and say what each is worth."""
    pixel, session = inputs.table.pixel_size_angstroms, inputs.sessions[inputs.half]
    finest = nearest_shell(session.gaussians.resolution_angstroms, inputs.table.box, pixel)
    remove_earlier(job.directory)
    written: list[WrittenStateMaps] = []
    places: dict[int, list[WrittenState]] = {half: [] for half in inputs.sessions}
    for number, state in enumerate(inputs.states, start=1):
        made = making.make(number, state)
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
    forward = load_centred_result(job_directory, options.fn_checkpoint, device)
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


def _how(inputs: StatesInputs, options: StatesOptions) -> HowToSolve:
    return HowToSolve(
        asked_binning(options, inputs.forward.box),
        options.warp_interpolation,
        options.backproject_batchsize,
        options.reconstruction_iterations,
    )


def _plan(inputs: StatesInputs, options: StatesOptions, device: torch.device) -> MemoryPlan:
    """Of all particles at once, as of the widest kernel; the sums of one half are there at a time."""
    forward, counts = inputs.forward, [len(bins) for bins in inputs.bins.values()]
    basis_bytes = max(part.model.field.n_fields for part in forward.halves.values()) * 12 * forward.box**3 // 3
    return MemoryPlan(
        forward.box,
        max(counts),
        max(counts),
        basis_bytes,
        options.backproject_batchsize,
        n_particles=len(inputs.table),
        free_gpu_bytes=free_memory_bytes(device),
    )
