"""Task "forward deformations": reads, seeds, trains both halves, saves. Each half set is trained by itself."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from jobtypes.common.conventions import HALVES
from jobtypes.common.devices import choose_devices, is_gpu
from jobtypes.common.shared_halves import device_of, halves_of
from jobtypes.common.team import Crew, Team, accompanied, joined_team, on_cpu
from jobtypes.dynamight import layout
from jobtypes.dynamight.forward_deformations.beside_other import beside, find_from_map
from jobtypes.dynamight.forward_deformations.checkpointing import CheckpointWriter, load_last
from jobtypes.dynamight.forward_deformations.continuation import (
    CARRIED_OVER,
    Start,
    carry_over,
    gone_on,
    is_other_star,
    refuse_other_options,
    set_earlier_aside,
    starting_point,
    with_split,
)
from jobtypes.dynamight.forward_deformations.enough_particles import TOO_FEW, bearing
from jobtypes.dynamight.forward_deformations.epochs import Epochs
from jobtypes.dynamight.forward_deformations.evidence import Evidence, MotionFinding
from jobtypes.dynamight.forward_deformations.held_out_latents import SeenByOther, seen_by_other
from jobtypes.dynamight.forward_deformations.input_check import (
    check_inputs,
    refuse_misfit,
    say_warnings,
    show_agreement,
    with_findings,
)
from jobtypes.dynamight.forward_deformations.judging import group_scales_in_words
from jobtypes.dynamight.forward_deformations.plan import TrainingPlan, make_plan
from jobtypes.dynamight.forward_deformations.posteriors import PosteriorStage, held_out_verdict, work_out_posteriors
from jobtypes.dynamight.forward_deformations.preparation import checkpoint_settings, prepare_half
from jobtypes.dynamight.forward_deformations.rounds import Rounds
from jobtypes.dynamight.forward_deformations.timing import take_first_steps, time_sentence
from jobtypes.dynamight.forward_deformations.training import HalfTraining
from jobtypes.dynamight.model.disagreement import AgreementOfMotions
from jobtypes.dynamight.model.quality import LEAST_QUALITY
from jobtypes.dynamight.model.result import HELD_OUT_VERDICT, LATENT_BY_OTHER, build_model, load_centred_result
from jobtypes.dynamight.options import ForwardOptions
from jobtypes.dynamight.outputs import write_forward_outputs
from relion_jobs.contract.errors import UserError
from relion_jobs.contract.labels import LOGFILE_PDF
from relion_jobs.contract.options import Value
from relion_jobs.contract.running_job import RunningJob


def check(values: Mapping[str, Value], job_directory: Path) -> list[str]:
    """Validate the inputs of a training and return its plan in sentences. Writes nothing."""
    options = ForwardOptions.from_values(values)
    torch.set_num_threads(options.nr_threads)
    devices, sentence = choose_devices(options.gpu_id, len(HALVES))
    plan = make_plan(options, Path.cwd())
    found = check_inputs(plan, options)
    refuse_misfit(found)
    plan = with_findings(plan, found)
    processes = 1 if is_gpu(devices[0]) else plan.n_processes
    side_by_side = processes > 1 or is_gpu(devices[0])
    if side_by_side:
        torch.set_num_threads(max(1, options.nr_threads // max(processes, len(HALVES))))
    warnings = [f"Warning: {warning}" for warning in found.warnings]
    first = take_first_steps(plan, devices[0])
    of_plan = [*plan.sentences(), *plan.warnings(), bearing(plan, first.signal)]
    of_half = max(1, processes // len(HALVES))
    duration = time_sentence(plan, first, side_by_side=side_by_side, processes=of_half)
    return [*warnings, sentence, *found.sentences, *of_plan, duration]


def run(values: Mapping[str, Value], job: RunningJob) -> None:
    """Train both half sets, or go on with a training that was left.

    Where both half sets fit side by side on the CPU, each trains in a process of its own, or in several where there are many
    threads, as it does where torchrun starts them; the result is the same.

    Raises
    ------
    UserError
        Bad input, or other options or input files than those of the training that should go on.
    JobFailed
        The objective became infinite; the last good checkpoint is kept.
    JobAborted
        The job was asked to stop; a checkpoint has been written.
    """
    options = ForwardOptions.from_values(values)
    torch.set_num_threads(options.nr_threads)
    with joined_team() as team:
        devices = _choose_devices(options.gpu_id, team, job)
        earlier = team.from_first(lambda: load_last(job.directory))
        if job.is_continue and earlier is not None:
            refuse_other_options(options, earlier, job)
            if earlier["finished"] and not is_other_star(options.fn_star, earlier, job.project):
                _say_finished(earlier, job, team)
                return
        plan = make_plan(options, job.project)
        if team.count > 1 or not plan.halves_side_by_side or is_gpu(devices[0]):
            _train(options, job, team, devices, earlier, plan)
            return
        with accompanied(job.start_companion, plan.n_processes) as all_of_them:
            if all_of_them.count > 1:
                # what the other processes, which run this function from its beginning, ask the team for
                devices = _choose_devices(options.gpu_id, all_of_them, job)
                earlier = all_of_them.from_first(lambda: earlier)
            _train(options, job, all_of_them, devices, earlier, plan)


def _say_finished(earlier: dict[str, Any], job: RunningJob, team: Team) -> None:
    job.report(f"This training is finished: {earlier['epoch']} epochs are done, and nothing was asked for that it has not.")
    if team.is_first and not (job.directory / layout.PARTICLES).is_file():
        # it was killed while these were written
        _write_outputs(earlier["history"], job)


def _train(
    options: ForwardOptions,
    job: RunningJob,
    team: Team,
    devices: list[torch.device],
    earlier: dict[str, Any] | None,
    plan: TrainingPlan,
) -> None:
    """Train the half sets of this process of a team, one on each of its devices, from an earlier checkpoint if there is one."""
    mine, crew = halves_of(team), team.crew(len(HALVES))
    _refuse_too_many(crew, options)
    goes_on = job.is_continue and earlier is not None and not is_other_star(options.fn_star, earlier, job.project)
    begun = earlier["settings"] if earlier is not None and goes_on else None
    found = team.from_first(lambda: check_inputs(plan, options, begun))
    refuse_misfit(found, job)
    plan = with_findings(plan, found)
    start = team.from_first(lambda: starting_point(earlier, options, plan, job))
    plan = with_split(plan, start)
    side_by_side = plan.halves_side_by_side or is_gpu(devices[0])
    parts = team.local_count if team.count > 1 else len(mine) if side_by_side else 1
    torch.set_num_threads(max(1, options.nr_threads // parts))
    for line in (*found.sentences, *plan.sentences()):
        job.report(line)
    for line in plan.warnings():
        job.warn(line)
    if team.is_first:
        say_warnings(plan, job)
        show_agreement(found, job)
        first = take_first_steps(plan, devices[0])
        enough = bearing(plan, first.signal)
        (job.warn if enough.startswith(TOO_FEW) else job.report)(enough)
        job.report(time_sentence(plan, first, side_by_side=side_by_side or team.count > 1, processes=crew.count))
    halves = {half: _read_and_seed(half, plan, job, crew, device=device) for half, device in zip(mine, devices, strict=True)}
    history = _go_on(halves, start, plan, job, team)
    stages = _last_stages(halves, start)
    states = team.gathered(_of_first(halves, _states(stages)))
    writer = None if states is None else _new_writer(plan, options, start, job, states=states, history=history)
    workers = len(mine) if side_by_side else 1
    rounds = Rounds(lambda: _of_first(halves, _states(stages)), workers=workers, writer=writer, job=job, team=team)
    Epochs(halves, plan, history, rounds=rounds, job=job, team=team).run()
    work_out_posteriors(stages, plan, history, rounds=rounds, job=job, team=team)
    _finish(stages, plan, options, history, writer=writer, job=job, team=team)


def _go_on(
    halves: dict[int, HalfTraining], start: Start, plan: TrainingPlan, job: RunningJob, team: Team
) -> list[dict[str, float]]:
    """Give the half sets of this process, in place, what they go on from; returns the history up to there."""
    checkpoint = start.checkpoint
    if checkpoint is None:
        return []
    if start.earlier_rows is None:
        for half, training in halves.items():
            halves[half] = gone_on(training, checkpoint["halves"][half], checkpoint["settings"])
        job.report(f"Going on from epoch {checkpoint['epoch']}.")
        return list(checkpoint["history"])
    kept = {}
    for half, training in halves.items():
        halves[half], kept[half] = carry_over(training, checkpoint["halves"][half], start, plan)
    kept = team.merged(kept)
    first = team.merged({half: training.epochs_done for half, training in halves.items()})
    job.report(
        f"Poses: {sum(kept.values())} are the same in both files and keep their refinement, the other "
        f"{len(plan.table) - sum(kept.values())} start anew from {plan.table.path.name}. "
        f"Training goes on with epoch {min(first.values()) + 1}."
    )
    return [row for row in checkpoint["history"] if row["epoch"] < first[int(row["half"])]]


def _last_stages(halves: dict[int, HalfTraining], start: Start) -> dict[int, PosteriorStage]:
    """The last stage of each half set of this process, as far as it was where the training was left."""
    stages = {half: PosteriorStage(training) for half, training in halves.items()}
    if start.checkpoint is not None and start.earlier_rows is None:
        for half, stage in stages.items():
            stage.restore(start.checkpoint["halves"][half])
    return stages


def _states(stages: dict[int, PosteriorStage]) -> dict[int, dict[str, Any]]:
    """What a checkpoint keeps of each half set of this process."""
    return {half: stage.training.state() | stage.state() for half, stage in stages.items()}


def _of_first(halves: dict[int, HalfTraining], values: dict[int, Any]) -> dict[int, Any]:
    """Those of the half sets of this process for which it speaks, of values that are the same in all processes of a half set."""
    return {half: value for half, value in values.items() if halves[half].share.crew.is_first}


def _new_writer(
    plan: TrainingPlan,
    options: ForwardOptions,
    start: Start,
    job: RunningJob,
    *,
    states: dict[int, dict[str, Any]],
    history: list[dict[str, float]],
) -> CheckpointWriter:
    """The writer of this training's checkpoints; where other images take the place of earlier ones, with its first checkpoint."""
    settings = checkpoint_settings(plan)
    if start.earlier_rows is None:
        if start.checkpoint is not None and start.checkpoint["settings"].get(CARRIED_OVER):
            settings[CARRIED_OVER] = True
        return CheckpointWriter(job.directory, options, settings)
    aside = set_earlier_aside(job.directory)
    writer = CheckpointWriter(job.directory, options, settings | {CARRIED_OVER: True})
    writer.save(states, history)
    job.report(f"The results of the earlier training were moved to {aside}.")
    return writer


def _refuse_too_many(crew: Crew, options: ForwardOptions) -> None:
    if crew.count > options.training_batch_size:
        raise UserError(
            f"{crew.count} processes share each half set, but a batch has {options.training_batch_size} particles "
            "(training_batch_size), of which each process takes some; start fewer processes, or take larger batches."
        )


def _choose_devices(gpu_id: str, team: Team, job: RunningJob) -> list[torch.device]:
    """A device for each half set of this process; the first process reports those of all."""
    halves = halves_of(team)
    if team.count == 1:
        devices, sentence = choose_devices(gpu_id, len(halves))
        job.report(sentence)
        return devices
    return [device_of(gpu_id, team, job)]


def _finish(
    stages: dict[int, PosteriorStage],
    plan: TrainingPlan,
    options: ForwardOptions,
    history: list[dict[str, float]],
    *,
    writer: CheckpointWriter | None,
    job: RunningJob,
    team: Team,
) -> None:
    """Held-out particles under the other half's model, the last checkpoint, and everything that is shown of it."""
    halves = {half: stage.training for half, stage in stages.items()}
    by_other = _seen_by_other(halves, plan, job, team)
    own = {half: held_out_verdict(training, plan.last_epoch) for half, training in halves.items()}
    ended = {
        half: state | {LATENT_BY_OTHER: by_other[half].latents, HELD_OUT_VERDICT: own[half].state()}
        for half, state in _states(stages).items()
    }
    states = team.gathered(_of_first(halves, ended))
    crossed = team.merged({half: (seen.evidence, seen.agreement) for half, seen in by_other.items()})
    words = {
        half: [_quality_in_words(half, training, plan), _finding(half, training, own[half].motion, crossed).sentence()]
        for half, training in halves.items()
    }
    if plan.seed.pieces is not None:
        from_map = team.from_first(lambda: find_from_map(job.directory, options, checkpoint_settings(plan), halves))
        for half, training in halves.items():
            words[half].append(beside(half, training, own[half], from_map))
    findings = team.merged(words)
    if states is None or writer is None:
        return
    path = writer.save(states, history, finished=True)
    for scratch in job.directory.glob(layout.SPECTRA_PATTERN):
        scratch.unlink()
    _write_outputs(history, job)
    for sentences in findings.values():
        for sentence in sentences:
            job.report(sentence)
    say_warnings(plan, job)
    job.report(f"Wrote {path}; the pictures are in {job.directory / LOGFILE_PDF}.")


def _seen_by_other(halves: dict[int, HalfTraining], plan: TrainingPlan, job: RunningJob, team: Team) -> dict[int, SeenByOther]:
    """For each half set of this process what `seen_by_other` says; the models, which are final, are exchanged for it."""
    models = team.merged(on_cpu(_of_first(halves, {half: training.model.state_dict() for half, training in halves.items()})))
    seen = {}
    for half, training in halves.items():

        def after_batch(done: int, half: int = half, training: HalfTraining = training) -> None:
            job.progress(f"held-out particles of half {half}", done, len(training.held_out), "particles")
            job.check_abort()
            team.hear()

        (state,) = (state for number, state in models.items() if number != half)
        other = build_model(state, checkpoint_settings(plan)).to(training.observations.device).eval()
        seen[half] = seen_by_other(training, other, plan.last_epoch, after_batch)
    return seen


def _write_outputs(history: list[dict[str, float]], job: RunningJob) -> None:
    write_forward_outputs(load_centred_result(job.directory), history, job)


def _read_and_seed(half: int, plan: TrainingPlan, job: RunningJob, crew: Crew, *, device: torch.device) -> HalfTraining:
    scratch = None if plan.spectra_in_memory else job.directory / layout.spectra(half, crew.place)

    def after_batch(done: int) -> None:
        job.progress(f"reading images of half {half}", done, plan.n_images(half), "images")
        job.check_abort()
        crew.hear()

    return prepare_half(half, plan, device=device, scratch=scratch, after_batch=after_batch, crew=crew)


def _quality_in_words(half: int, training: HalfTraining, plan: TrainingPlan) -> str:
    """What the particles of one half set are."""
    quality = training.model.quality
    junk = float((quality.probability <= LEAST_QUALITY).double().mean())
    spread = float(quality.scale_spread / quality.mean_scale)
    groups = group_scales_in_words(quality, training.observations.group, plan.table.optics.names)
    return (
        f"Half {half}: {100 * junk:.1f} % of the particles are something else than the molecule at its pose (quality of at most "
        f"{LEAST_QUALITY:g}; they count for little or nothing); the signal of the others scatters by {100 * spread:.0f} %."
        f"{groups}"
    )


def _finding(
    half: int, training: HalfTraining, own: Evidence, crossed: dict[int, tuple[Evidence, AgreementOfMotions]]
) -> MotionFinding:
    """What was found in one half set; `crossed`: by half set, what its held-out particles say of the other half's model."""
    (of_other,) = (evidence for number, (evidence, _) in crossed.items() if number != half)
    first, second = (crossed[number][1] for number in HALVES)
    return MotionFinding(
        half=half,
        rms_motion_angstroms=training.rms_motion(),
        mobile_tenth_angstroms=float(training.motion_power.quantile(0.9).sqrt()),
        own=own,
        of_other=of_other,
        agreements=(first, second),
    )
