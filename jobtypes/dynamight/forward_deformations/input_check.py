"""Poses, CTFs and map against each other before anything is learned: refusal, warnings, figure, and what a plan takes from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from jobtypes.common.agreement.findings import InputFindings, find_agreement
from jobtypes.dynamight import layout
from jobtypes.dynamight.forward_deformations.agreement_figure import draw_agreement
from jobtypes.dynamight.forward_deformations.plan import TrainingPlan
from jobtypes.dynamight.options import ForwardOptions
from jobtypes.dynamight.outputs import gather_logbook
from relion_jobs.contract.errors import UserError
from relion_jobs.contract.running_job import RunningJob


def check_inputs(plan: TrainingPlan, options: ForwardOptions, begun: Mapping[str, Any] | None = None) -> InputFindings:
    """Compare particles with the map as `find_agreement`; with `accept_misfit` errors become warnings, and nothing is changed.

    A training that goes on keeps to what it found at its beginning: `begun` are the settings of its checkpoint.
    """
    if begun is not None:
        flipped = np.array(begun.get("phase_flipped", plan.table.optics.phase_flipped))
        return InputFindings((), tuple(begun.get("input_warnings", ())), (), flipped, ())
    found = find_agreement(plan.images, plan.consensus, plan.random_seed)
    if not options.accept_misfit:
        return found
    errors = tuple(f"{error[0].upper()}{error[1:]}. That is accepted (accept_misfit)." for error in found.errors)
    return replace(found, warnings=(*errors, *found.warnings), errors=(), phase_flipped=plan.table.optics.phase_flipped)


def refuse_misfit(found: InputFindings, job: RunningJob | None = None) -> None:
    """Refuse inputs that do not belong together; the figure that shows it stays with the job, if there is one.

    Raises
    ------
    UserError
        One sentence for each fault, and the option that accepts it.
    """
    if not found.errors:
        return
    if job is not None:
        show_agreement(found, job)
    raise UserError(
        f"The inputs do not belong together: {'; '.join(found.errors)}. To go on nevertheless, set accept_misfit to Yes "
        "(--accept-misfit)."
    )


def show_agreement(found: InputFindings, job: RunningJob) -> None:
    """Draw the curves of all optics groups, and put them into logfile.pdf."""
    if found.curves:
        draw_agreement(found.curves, job.directory / layout.AGREEMENT_FIGURE)
        gather_logbook(job.directory)


def with_findings(plan: TrainingPlan, found: InputFindings) -> TrainingPlan:
    """The plan, of which optics groups are phase-flipped as was found."""
    table = plan.table.with_phase_flipped(found.phase_flipped)
    return replace(plan, table=table, images=plan.images.with_table(table), input_warnings=found.warnings)


def say_warnings(plan: TrainingPlan, job: RunningJob) -> None:
    """Say what may be wrong with the inputs: before the training, and again with its verdict."""
    for warning in plan.input_warnings:
        job.warn(warning)
