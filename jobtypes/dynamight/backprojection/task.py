"""Task "deformed backprojection": half maps in which every particle's deformation is taken into account."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from jobtypes.common.shared_halves import device_of, halves_of, share_halves
from jobtypes.common.team import Team
from jobtypes.common.volumes import read_mask
from jobtypes.dynamight import layout
from jobtypes.dynamight.backprojection.bins import Bins
from jobtypes.dynamight.backprojection.fsc_mask import molecule_mask
from jobtypes.dynamight.backprojection.half_problem import HalfProblem, bins_of, build_half_problem
from jobtypes.dynamight.backprojection.inverse_field import Inverses, load_inverses
from jobtypes.dynamight.backprojection.memory_plan import MemoryPlan, asked_binning, plan_for, processes_for
from jobtypes.dynamight.backprojection.moving_part import MovingPart, moving_part, moving_weights
from jobtypes.dynamight.backprojection.outputs import MAPS_WRITTEN, write_outputs
from jobtypes.dynamight.backprojection.particle_pass import ParticleViews
from jobtypes.dynamight.backprojection.reconstruction import DeformedReconstruction, Maps
from jobtypes.dynamight.backprojection.slices import SlicePlane
from jobtypes.dynamight.backprojection.sums_store import SumsStore
from jobtypes.dynamight.backprojection.time_plan import TimePlan, measure_costs, moving_voxels
from jobtypes.dynamight.backprojection.verdict import Verdict
from jobtypes.dynamight.model.result import (
    ForwardResult,
    HalfResult,
    load_centred_result,
    particles_of,
    refuse_other_star,
)
from jobtypes.dynamight.options import FREE_ON_RESUME, BackprojectionOptions
from relion_jobs.contract.errors import JobAborted
from relion_jobs.contract.options import Value
from relion_jobs.contract.running_job import RunningJob

# What is stored of a run belongs to every option, and to every new one, for sums or verdict change with it; but those that are
# free say only where it computes, and for those that name files stands what the files hold.
_NAMES_OF_FILES = frozenset({"fn_checkpoint", "fn_star", "fn_fsc_mask"})


@dataclass(frozen=True)
class Inputs:
    """Everything that is read before the first image.

    Attributes
    ----------
    forward
        The trained deformations.
    table
        All particles.
    bins
        Of each half: how particles share deformations.
    inverses
        Inverse maps, where they are used.
    mask : (N, N, N)
        Of the FSC; None: around the molecule.
    sentences
        What was chosen, in words.
    """

    forward: ForwardResult
    table: ParticleTable
    bins: dict[int, Bins]
    inverses: Inverses | None
    mask: Tensor | None
    sentences: tuple[str, ...]


def check(values: Mapping[str, Value], job_directory: Path) -> list[str]:
    """Validate the inputs of a reconstruction and return its plan in sentences; called in the project. Writes nothing."""
    keep_freed_memory()  # as the run will, whose pieces are timed
    options = BackprojectionOptions.from_values(values)
    torch.set_num_threads(options.nr_threads)
    device, device_sentence = choose_device(options.gpu_id)
    inputs = read_inputs(options, Path.cwd(), Path(job_directory), device)
    images = ParticleImages(inputs.table, Path.cwd())
    images.verify()
    _memory_plan(inputs, options, device).refuse_full_disk(Path(job_directory))
    return [device_sentence, *_sentences(inputs, images, device, options)]


def run(values: Mapping[str, Value], job: RunningJob) -> None:
    """Reconstruct both half maps, rigid and deformed, and judge them; on a CPU in a process for each half, if memory holds both.

    Raises
    ------
    UserError
        Bad input: no checkpoint, particles of another job, an inverse of another checkpoint, damaged images.
    JobAborted
        The job was asked to stop; its sums are on disk and it will go on from there.
    """
    options = BackprojectionOptions.from_values(values)
    torch.set_num_threads(options.nr_threads)
    share_halves(lambda team: reconstruct(options, job, team), job, lambda: processes_for(options, job.directory))


def reconstruct(options: BackprojectionOptions, job: RunningJob, team: Team) -> None:
    """Reconstruct as one of the processes of a team; the half sets share them, and the bins those of a half set."""
    keep_freed_memory()
    crew = team.crew(len(HALVES))
    torch.set_num_threads(max(1, options.nr_threads // team.local_count))
    device = device_of(options.gpu_id, team, job)
    inputs = read_inputs(options, job.project, job.directory, device)
    inputs = replace(inputs, bins=team.from_first(lambda: inputs.bins))
    images = ParticleImages(inputs.table, job.project)
    images.verify()
    plan = _memory_plan(inputs, options, device)
    plan.refuse_full_disk(job.directory)
    if team.is_first:
        for sentence in _sentences(inputs, images, device, options, processes=team.count):
            job.report(sentence)
    problems = _problems(inputs, images, device, options, halves_of(team), job)
    store = _store(inputs, options, job, team, plan)
    with torch.no_grad():
        mask = _mask_around(inputs).to(device) if inputs.mask is None else inputs.mask.to(device)
        reconstruction = DeformedReconstruction(
            problems,
            store,
            mask,
            job,
            batch_size=options.backproject_batchsize,
            iterations=options.reconstruction_iterations,
            team=team,
            crew=crew,
        )
        try:
            maps, verdict = reconstruction.run()
        except JobAborted:
            store.save()  # where another process was asked to stop
            raise
        if team.is_first:
            _write(maps, verdict, reconstruction, inputs, mask, job)
            store.delete()


def _store(inputs: Inputs, options: BackprojectionOptions, job: RunningJob, team: Team, plan: MemoryPlan) -> SumsStore:
    """The sums of this process; the first one looks first at what is there."""
    sums_of = belongs_to(inputs, options) | {"bins": digest(*(bins.labels for bins in inputs.bins.values()))}

    def opened() -> SumsStore:
        memory_bytes, gpu_bytes = (room // team.local_count for room in (plan.cache_bytes(), plan.gpu_cache_bytes()))
        return SumsStore(job.directory, sums_of, memory_bytes=memory_bytes, gpu_bytes=gpu_bytes, as_now=as_now, process=team.rank)

    store = opened() if team.is_first else None
    team.meet(job.abort_requested)
    store = store or opened()
    if store.resumed:
        job.report("Going on with the sums of an earlier run.")
    return store


def _write(
    maps: Maps, verdict: Verdict, reconstruction: DeformedReconstruction, inputs: Inputs, mask: Tensor, job: RunningJob
) -> None:
    """Say the verdict and write all that is to be seen of the maps."""
    verdict = verdict.with_moving_part(_moving_part(maps, inputs))
    _say_verdict(verdict, job)
    for warning in inputs.forward.input_warnings:
        job.warn(warning)
    for half, residual in reconstruction.unsolved.items():
        job.warn(_unsolved(half, residual, inputs, reconstruction.iterations))
    for sentence in write_outputs(job, maps, verdict, mask, pixel_size_angstroms=inputs.table.pixel_size_angstroms):
        job.report(sentence)
    deformed, rigid = (" and ".join(name(half).name for half in HALVES) for name in (layout.half_map, layout.rigid_half_map))
    job.report(
        f"Maps, curves and figures are in {job.directory / layout.BACKPROJECTION}/; {deformed} are the deformed maps, {rigid} "
        "those of the same particles in the same poses without deformation."
    )


def read_inputs(options: BackprojectionOptions, project: Path, job_directory: Path, device: torch.device) -> Inputs:
    """Read checkpoint, particles, mask and inverse, and refuse what does not belong together."""
    forward = load_centred_result(job_directory, options.fn_checkpoint, device).with_lone_parts_there()
    refuse_other_star(forward, options.fn_star, project)
    table = particles_of(forward, project, path_prefix=options.particle_path_prefix)
    mask, mask_sentence = _mask(options.fn_fsc_mask, forward, project)
    binning, pixel = asked_binning(options, forward.box), forward.pixel_size_angstroms
    bins = {half: bins_of(result, binning, pixel) for half, result in forward.halves.items()}
    inverses, field_sentence = load_inverses(job_directory, forward, options.backprojection_field, device)
    first = f"Deformations of {forward.path} (epoch {forward.epoch}), {len(table)} particles."
    return Inputs(
        forward, table, bins, inverses, mask, (first, field_sentence, mask_sentence, *forward.sentences_of_lone_parts())
    )


def _mask(name: str | None, forward: ForwardResult, project: Path) -> tuple[Tensor | None, str]:
    if name is not None:
        mask = read_mask(project / name, forward.box, forward.pixel_size_angstroms, f"Mask {name}")
        return mask, f"The FSC is measured within {name}."
    return None, "No mask is given (fn_fsc_mask): the FSC is measured within a soft mask around the molecule in all its states."


def _mask_around(inputs: Inputs) -> Tensor:
    halves = [(result, inputs.bins[half]) for half, result in inputs.forward.halves.items()]
    return molecule_mask(halves, box=inputs.table.box, pixel_size_angstroms=inputs.table.pixel_size_angstroms)


def _memory_plan(inputs: Inputs, options: BackprojectionOptions, device: torch.device) -> MemoryPlan:
    kept = {half: _fields_kept(inputs, half) for half in inputs.bins}
    return replace(plan_for(inputs.forward, inputs.bins, options, device, fields_kept=kept), n_maps=MAPS_WRITTEN)


def _sentences(
    inputs: Inputs, images: ParticleImages, device: torch.device, options: BackprojectionOptions, *, processes: int = 1
) -> list[str]:
    """The plan in words; `processes` share the work."""
    of_bins = [_binning_sentence(inputs, half, options.bin_tolerance) for half in inputs.bins]
    duration = _time_plan(inputs, images, device, options, processes)
    return [*inputs.sentences, *of_bins, _memory_plan(inputs, options, device).sentence(), duration.sentence()]


def _fields_kept(inputs: Inputs, half: int) -> int:
    """How many displacement fields are kept on the voxels: the basis, or what an inverse gives for each bin."""
    return len(inputs.bins[half]) if inputs.inverses else inputs.forward.halves[half].model.field.n_fields


def _binning_sentence(inputs: Inputs, half: int, tolerance_pixels: float) -> str:
    result, bins, pixel = inputs.forward.halves[half], inputs.bins[half], inputs.table.pixel_size_angstroms
    good = result.good.cpu().numpy()
    others = int((~good).sum())
    left_out = f" ({others} more are something else than the molecule, and left out)" if others else ""
    leave = "1 bin leaves" if len(bins) == 1 else f"{len(bins)} bins leave"
    return (
        f"Half {half}: {int(good.sum())} particles{left_out}, {int((result.held_out & good).sum())} of them held out for the "
        f"verdict; rms motion of what moves {bins.rms_motion_angstroms:.2f} A, {leave} {bins.rms_residual_angstroms:.2f} A "
        f"({bins.rms_residual_angstroms / pixel:.3f} pixels) of it" + _remark(bins, tolerance_pixels * pixel, pixel)
    )


@torch.no_grad()
def _time_plan(
    inputs: Inputs,
    images: ParticleImages,
    device: torch.device,
    options: BackprojectionOptions,
    processes: int,
) -> TimePlan:
    halves, moving = inputs.forward.halves, moving_voxels(inputs.forward, inputs.bins)
    half = max(moving, key=lambda half: moving[half])
    model, views = halves[half].model, _views(halves[half], images, SlicePlane(inputs.table.box, device=device))
    costs = measure_costs(views, model.field, model.gaussians.positions, order=options.warp_interpolation, n_moving=moving[half])
    good = {half: result.good.cpu().numpy() for half, result in halves.items()}
    held_out = sum(int((result.held_out & good[half]).sum()) for half, result in halves.items())
    n_bins, most = tuple(map(len, inputs.bins.values())), options.reconstruction_iterations
    return TimePlan(costs, sum(int(kept.sum()) for kept in good.values()), held_out, n_bins, most, processes)


def _remark(bins: Bins, asked_angstroms: float, pixel_size_angstroms: float) -> str:
    """Whether bins leave what they should, and what they hold apart."""
    parts = "; particles with and without the parts that some lack are in different bins" if bins.presence.shape[1] else ""
    left = bins.rms_residual_angstroms
    if left > bins.tolerance_angstroms:
        return f", more than the {bins.tolerance_angstroms / pixel_size_angstroms:.2g} pixels wanted: raise max_bins{parts}."
    if left > asked_angstroms:
        return f", and finer ones would gain nothing, so uncertain are the deformations of single particles{parts}."
    return f"{parts}."


def _problems(
    inputs: Inputs,
    images: ParticleImages,
    device: torch.device,
    options: BackprojectionOptions,
    halves: Sequence[int],
    job: RunningJob,
) -> dict[int, HalfProblem]:
    plane = SlicePlane(inputs.table.box, device=device)
    return {
        half: build_half_problem(
            result,
            _views(result, images, plane),
            bins=inputs.bins[half],
            order=options.warp_interpolation,
            batch_size=options.backproject_batchsize,
            inverse=inputs.inverses.asked_by_bins(half, len(inputs.bins[half]), job) if inputs.inverses else None,
        )
        for half, result in inputs.forward.halves.items()
        if half in halves
    }


def _views(result: HalfResult, images: ParticleImages, plane: SlicePlane) -> ParticleViews:
    return ParticleViews(
        images,
        result.rows,
        result.angles_matrices,
        result.shifts_angstroms,
        plane=plane,
        quality=result.quality.cpu(),
        scale=result.scale.cpu(),
    )


def belongs_to(inputs: Inputs, options: BackprojectionOptions) -> dict[str, Any]:
    """All that the sums and the verdict of a run follow from: files by what they hold, and options."""
    star = inputs.table.path.stat()
    particles = {"star_file": inputs.forward.star_file, "size": star.st_size, "changed": star.st_mtime_ns}
    files = {
        "forward": inputs.forward.identity,
        "inverse": inputs.inverses.identity if inputs.inverses else "",
        "mask": "" if inputs.mask is None else digest(inputs.mask),
    }
    return files | particles | _that_count(options.as_dict())


def as_now(stored: Mapping[str, Any]) -> dict[str, Any]:
    """What sums of an earlier version belong to, with the default of options that it did not know."""
    return _that_count(BackprojectionOptions.as_now(stored))


def _that_count(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in FREE_ON_RESUME | _NAMES_OF_FILES}


def _moving_part(maps: Maps, inputs: Inputs) -> MovingPart | None:
    grid = {"pixel_size_angstroms": inputs.table.pixel_size_angstroms}
    weights = moving_weights(inputs.forward.halves.values(), box=inputs.table.box, **grid)
    rigid, deformed = ((pair.maps[1], pair.maps[2]) for pair in (maps.rigid, maps.deformed))
    return None if weights is None else moving_part(rigid, deformed, weights, **grid)


def _say_verdict(verdict: Verdict, job: RunningJob) -> None:
    if verdict.word == "better":
        job.report(verdict.sentence())
    else:
        job.warn(verdict.sentence())


def _unsolved(half: int, residual: float, inputs: Inputs, iterations: int) -> str:
    particles = len(inputs.forward.halves[half].rows)
    return (
        f"The maps of half {half} are not to be trusted: the residual stayed at {residual:.2g} of the first one, as "
        f"{particles} particles are few for a box of {inputs.table.box} pixels (or {iterations} iterations for them);"
        " take more particles, bin them, or raise reconstruction_iterations."
    )
