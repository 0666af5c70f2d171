"""What a job does, since when, and how long it will take by its own account: read from its settings, its owner and its log."""

from __future__ import annotations

import re
from collections.abc import Sequence

from relion_jobs.contract.errors import UserError
from relion_jobs.ondisk import job_star
from relion_jobs.ondisk.job_directory import JobDirectory
from relion_jobs.ondisk.owner import ago
from relion_jobs.running.finish import owner_of
from relion_jobs.running.progress import PROGRESS_LINE, duration
from relion_jobs.running.registry import project_registry
from relion_jobs.running.settings import read_settings

_PERCENT = re.compile(r"\((\d+) %\)")
_LEFT = re.compile(r", ((?:\d+ h )?(?:\d+ min ?)?(?:\d+ s)?) left\b")
_UNITS = {"h": 3600, "min": 60, "s": 1}
# a job that says nothing for so long is worth a look
SILENT_SECONDS = 600


def task_sentence(directory: JobDirectory) -> str:
    """Say which tasks the job's job.star asks for; empty for types that are not ours, and where it cannot be read."""
    try:
        request = job_star.read(directory.path)
        job_type = project_registry(directory.project).find(request.label)
        settings = read_settings(job_type, request.values, is_continue=request.is_continue, strict=False)
    except UserError:
        return ""
    return f"task: {settings.title}"


def running_sentences(directory: JobDirectory, lines: Sequence[str], now: float) -> list[str]:
    """Say who runs a job, and how far it is and how long it will take by the last line of progress in its log.

    Parameters
    ----------
    directory
        The job.
    lines
        Last lines of its run.out.
    now
        Seconds since 1970.
    """
    owner = owner_of(directory)
    sentences = [f"run by {owner} ({ago(owner.since)})"] if owner else []
    try:
        age = now - directory.run_out.stat().st_mtime
    except OSError:
        return sentences
    progress = next((line for line in reversed(lines) if PROGRESS_LINE.match(line)), "")
    if progress and (sentence := progress_sentence(progress, age)):
        sentences.append(sentence)
    if age > SILENT_SECONDS:
        sentences.append(f"its log has been silent for {duration(age)}")
    return sentences


def progress_sentence(line: str, age_seconds: float) -> str:
    """Turn a line of progress into what is left now; empty for a stage that was over by then.

    Parameters
    ----------
    line
        E.g. ``training: 640/1800 particles (36 %), 310 particles/s, 3 min 20 s left``.
    age_seconds
        Since it was written.
    """
    percent, left = _PERCENT.search(line), _LEFT.search(line)
    if percent is None or left is None:
        return ""
    stage = line.partition(":")[0]
    remaining = _seconds(left[1]) - age_seconds
    about = f"about {duration(remaining)} left" if remaining > 0 else "about to end by its own account"
    return f"{stage}: {percent[1]} % done, {about}"


def _seconds(text: str) -> float:
    """Seconds of a `progress.duration`."""
    return sum(int(number) * _UNITS[unit] for number, unit in re.findall(r"(\d+) (h|min|s)", text))
