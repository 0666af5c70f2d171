"""What a training goes on from: the checkpoint that is there, if options and input files allow it, or nothing."""

from __future__ import annotations

from typing import Any

from jobtypes.dynamight.forward_deformations.checkpointing import set_results_aside
from jobtypes.dynamight.forward_deformations.plan import TrainingPlan
from jobtypes.dynamight.options import FREE_ON_RESUME, ForwardOptions
from relion_jobs.contract.errors import UserError
from relion_jobs.contract.running_job import RunningJob


def refuse_other_options(options: ForwardOptions, earlier: dict[str, Any], job: RunningJob) -> None:
    """Refuse to go on with options that are part of what was learned.

    Raises
    ------
    UserError
        An option differs; the sentence says which may.
    """
    different = options.differences(earlier["options"])
    if different:
        name = different[0]
        free = ", ".join(sorted(FREE_ON_RESUME))
        raise UserError(
            f"Option {name} is '{getattr(options, name)}', but the training in {job.directory} was made with "
            f"'{earlier['options'].get(name)}'; a training goes on with the same options, of which only {free} may change. "
            "Set it back, or start a new job."
        )


def taken_up(
    earlier: dict[str, Any] | None, options: ForwardOptions, plan: TrainingPlan, job: RunningJob
) -> dict[str, Any] | None:
    """The checkpoint to go on from, None for a fresh start.

    A new job in a directory with results of other inputs, or with finished ones, sets them aside; "Continue!" refuses instead.
    It comes after the plan, so that bad input moves nothing.

    Raises
    ------
    UserError
        "Continue!", and the input files are not what they were.
    """
    if earlier is None:
        return None
    begun_with = earlier["settings"].get("inputs", {})
    changed = [name for name, digest in begun_with.items() if plan.inputs.get(name) != digest]
    if job.is_continue:
        if changed:
            raise UserError(
                f"The contents of {getattr(options, changed[0])} (option {changed[0]}) are not those that the training in "
                f"{job.directory} began with; restore the file or start a new job."
            )
        return earlier
    reasons = [f"option {name} differs" for name in options.differences(earlier["options"])]
    reasons += [f"the contents of {getattr(options, name)} have changed" for name in changed]
    if not reasons and not earlier["finished"]:
        return earlier
    why = reasons[0] if reasons else "it is finished"
    job.report(
        f"The training that is here is not taken up, as {why}; its results were moved to {set_results_aside(job.directory)}."
    )
    return None
