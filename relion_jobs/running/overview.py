"""What ``relion_jobs status`` says: what each job does, why it waits, the last lines of its log."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from relion_jobs.contract.errors import UserError
from relion_jobs.contract.labels import Status
from relion_jobs.ondisk.job_directory import JobDirectory
from relion_jobs.ondisk.project import read_pipeline
from relion_jobs.pipeline.graph import Pipeline, Process
from relion_jobs.pipeline.schedule import decide
from relion_jobs.running.outlook import running_sentences, task_sentence
from relion_jobs.running.queue import standing
from relion_jobs.running.unbegun import unbegun_sentence

OUT_LINES, ERR_LINES = 10, 5
TAIL_BYTES = 8192


def project_lines(project: Path) -> list[str]:
    """One line per job of a project, oldest first."""
    pipeline = read_pipeline(project)
    if not pipeline.processes:
        return ["No jobs yet: 'relion_jobs types' lists the job types, 'relion_jobs new TYPE' adds a job."]
    reasons = _reasons(pipeline, project)
    rows = [("JOB", "TYPE", "STATUS", "")]
    for process in pipeline.processes:
        name = process.name + (f" ({process.alias})" if process.alias else "")
        rows.append((name, process.label, process.status, _remark(process, project, reasons)))
    return table(rows)


def job_lines(project: Path, name: str) -> list[str]:
    """Say what there is to say about one job."""
    pipeline = read_pipeline(project)
    process = pipeline.process(name)
    directory = JobDirectory(project, process.name)
    lines = [f"{process.name}{f' ({process.alias})' if process.alias else ''}: {process.label}, {process.status}"]
    if reason := _reasons(pipeline, project).get(process.name):
        lines.append(reason)
    if task := task_sentence(directory):
        lines.append(task)
    if process.status == Status.RUNNING:
        if queued := standing(directory):
            lines.append(queued.sentence)
        if unbegun := unbegun_sentence(directory, time.time()):
            lines.append(unbegun)
        lines += running_sentences(directory, last_lines(directory.run_out, OUT_LINES), time.time())
    lines += [f"  reads  {node.path}" for node in pipeline.inputs_of(process.name)]
    lines += [f"  writes {node.path}" for node in pipeline.outputs_of(process.name)]
    for path, count in ((directory.run_out, OUT_LINES), (directory.run_err, ERR_LINES)):
        if last := last_lines(path, count):
            lines += ["", f"last lines of {path.name}:", *(f"  {line}" for line in last)]
    return lines


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as lines with aligned columns, two blanks between."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    return ["  ".join([*(text.ljust(width) for text, width in zip(row, widths, strict=False)), row[-1]]).rstrip() for row in rows]


def last_lines(path: Path, count: int) -> list[str]:
    """Return the last lines of a log; what a carriage return has overwritten is left out."""
    if not path.exists():
        return []
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, 2) - TAIL_BYTES))
        text = file.read().decode("utf-8", "replace")
    return [line.rsplit("\r", 1)[-1] for line in text.split("\n") if line.strip()][-count:]


def _reasons(pipeline: Pipeline, project: Path) -> dict[str, str]:
    decisions = decide(pipeline, lambda path: (project / path).exists())
    return {decision.process.name: decision.reason for decision in decisions}


def _remark(process: Process, project: Path, reasons: dict[str, str]) -> str:
    directory = JobDirectory(project, process.name)
    if process.status == Status.SCHEDULED:
        return reasons.get(process.name, "")
    try:
        if process.status == Status.RUNNING:
            queued = standing(directory)
            if queued is not None and queued.state == "waits":
                return queued.sentence
            return unbegun_sentence(directory, time.time()) or next(iter(last_lines(directory.run_out, 1)), "")
        if process.status == Status.FAILED:
            return next(iter(last_lines(directory.run_err, 1)), "")
    except (UserError, OSError) as error:
        # the line of one job must not hide the others
        return str(error)
    return ""
