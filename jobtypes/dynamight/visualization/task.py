"""The task: a window where one can be opened, and otherwise all that it would show, written to files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from jobtypes.common.devices import choose_device
from jobtypes.common.team import joined_team
from jobtypes.dynamight.model.result import load_centred_result, particles_of
from jobtypes.dynamight.options import VisualizationOptions
from jobtypes.dynamight.visualization.held_out import held_out_particles
from jobtypes.dynamight.visualization.to_files import write_everything
from jobtypes.dynamight.visualization.window.availability import why_no_window
from relion_jobs.contract.options import Value
from relion_jobs.contract.running_job import RunningJob

_WINDOW = "A window is opened; option headless writes files instead."
_TO_FILES = "states are written to files: maps, ChimeraX scripts, animations and figures."


def check(values: Mapping[str, Value], job_directory: Path) -> list[str]:
    """Say the plan in sentences; UserError where forward deformations or half-set 0 are missing, or are another job's."""
    options = VisualizationOptions.from_values(values)
    _ = options.path_ends  # refused now where it is none
    _, sentence = choose_device(options.gpu_id)
    forward = load_centred_result(job_directory, options.fn_checkpoint)
    particles_of(forward, Path.cwd())
    if options.halfset == 0:
        held_out_particles(forward)
    return [
        sentence,
        f"Visualization of {forward.path} (epoch {forward.epoch}): {_what(options)}.",
        why_files(headless=options.headless) or _WINDOW,
    ]


def run(values: Mapping[str, Value], job: RunningJob) -> None:
    """Show one half set, or both on held-out particles."""
    options = VisualizationOptions.from_values(values)
    with joined_team() as team:
        torch.set_num_threads(max(1, options.nr_threads // team.local_count))
        device, sentence = choose_device(options.gpu_id)
        job.report(sentence)
        forward = load_centred_result(job.directory, options.fn_checkpoint, device)
        particles_of(forward, job.project)  # files are written from them, at the end: refused now or not at all
        job.report(f"Visualization of {forward.path} (epoch {forward.epoch}): {_what(options)}.")
        reason = team.from_first(lambda: why_files(headless=options.headless))
        if reason is not None:
            job.report(reason)
            write_everything(forward, options, job, team)
        elif team.is_first:
            from jobtypes.dynamight.visualization.window.opening import show_window  # napari and Qt are needed from here on

            show_window(forward, job, half_set=options.halfset, n_clusters=options.n_clusters, seed=options.seed)


def _what(options: VisualizationOptions) -> str:
    if options.halfset == 0:
        return "held-out particles as both halves' models see them"
    return (
        f"half {options.halfset}, {options.n_motions} main motions of {options.n_frames} states each, "
        f"{options.n_clusters} clusters of particles"
    )


def why_files(*, headless: bool) -> str | None:
    """Say in one sentence why states are written to files; None where a window is opened instead."""
    if headless:
        return f"As asked for, {_TO_FILES}"
    reason = why_no_window()
    return reason and f"{reason.rstrip('.')}; {_TO_FILES}"
