"""The task: everything that can be seen of a motion, written to files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from jobtypes.common.devices import choose_device
from jobtypes.dynamight.model.result import load_forward_result
from jobtypes.dynamight.visualization.options import VisualizationOptions
from jobtypes.dynamight.visualization.to_files import write_everything
from jobtypes.dynamight.visualization.window.availability import why_no_window
from relion_jobs.contract.options import Value
from relion_jobs.contract.running_job import RunningJob

_TO_FILES = "states are written to files: maps, ChimeraX scripts, animations and figures."


def check(values: Mapping[str, Value], job_directory: Path) -> list[str]:
    """Say the plan in sentences; UserError where the forward deformations are missing or another job's."""
    options = VisualizationOptions.from_values(values)
    _, sentence = choose_device(options.gpu_id)
    forward = load_forward_result(job_directory, options.checkpoint_file)
    return [sentence, f"Visualization of {forward.path} (epoch {forward.epoch}): {_what(options)}.", _how(options)]


def run(values: Mapping[str, Value], job: RunningJob) -> None:
    """Show one half set, or both on held-out particles."""
    options = VisualizationOptions.from_values(values)
    torch.set_num_threads(options.n_threads)
    device, sentence = choose_device(options.gpu_id)
    job.report(sentence)
    forward = load_forward_result(job.directory, options.checkpoint_file, device)
    job.report(f"Visualization of {forward.path} (epoch {forward.epoch}): {_what(options)}.")
    job.report(_how(options))
    write_everything(forward, options, job)


def _what(options: VisualizationOptions) -> str:
    if options.half_set == 0:
        return "held-out particles as both halves' models see them"
    return (
        f"half {options.half_set}, {options.n_motions} main motions of {options.n_frames} states each, "
        f"{options.n_clusters} clusters of particles"
    )


def _how(options: VisualizationOptions) -> str:
    """One sentence: into files, and why."""
    if options.headless:
        return f"As asked for, {_TO_FILES}"
    reason = why_no_window()
    return f"{reason[:-1]}; {_TO_FILES}" if reason else _TO_FILES.capitalize()
