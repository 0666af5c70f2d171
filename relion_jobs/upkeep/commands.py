"""What the commands that keep a project in order do; each returns the exit code."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from relion_jobs.contract.errors import UnknownJobType, UserError
from relion_jobs.contract.labels import NO, TRASH
from relion_jobs.ondisk import job_star, trash
from relion_jobs.ondisk.job_directory import JobDirectory
from relion_jobs.ondisk.project import locate, resolve_job
from relion_jobs.running import settings
from relion_jobs.running.commands import complain, say
from relion_jobs.running.registry import project_registry
from relion_jobs.upkeep import clean as cleaning
from relion_jobs.upkeep import delete as deleting
from relion_jobs.upkeep import overwrite as overwriting
from relion_jobs.upkeep import verify as verifying
from relion_jobs.upkeep.mark import mark_job
from relion_jobs.upkeep.rename import set_alias


def delete(names: Sequence[str], *, recursive: bool) -> int:
    """Move jobs to the Trash."""
    project = locate(Path.cwd())
    jobs = [resolve_job(project, name, Path.cwd()) for name in names]
    for sentence in deleting.delete_jobs(project, jobs, recursive=recursive):
        say(sentence)
    return 0


def undelete(name: str) -> int:
    """Bring a job back from the Trash, and those that were deleted with it."""
    for sentence in deleting.undelete(locate(Path.cwd()), name):
        say(sentence)
    return 0


def empty_trash(*, is_sure: bool) -> int:
    """Erase the Trash for good, or say what would be erased."""
    project = locate(Path.cwd())
    found = trash.contents(project)
    if not found.n_files and not (project / TRASH).exists():
        say("The Trash is empty.")
        return 0
    if not is_sure:
        complain(f"This would erase {deleting.sentence_about(found)} for good; 'relion_jobs empty-trash --yes' does it.")
        return 1
    say(deleting.empty_trash(project))
    return 0


def mark(name: str, word: str) -> int:
    """Say by hand how a job ended."""
    project = locate(Path.cwd())
    for sentence in mark_job(project, resolve_job(project, name, Path.cwd()), word):
        say(sentence)
    return 0


def alias(name: str, text: str) -> int:
    """Give a job an alias, or take it away."""
    project = locate(Path.cwd())
    say(set_alias(project, resolve_job(project, name, Path.cwd()), text))
    return 0


def overwrite(name: str, assignments: Sequence[str]) -> int:
    """Put a new job in the place of an old one, with its options but for those that are given, and print its directory."""
    project = locate(Path.cwd())
    job = resolve_job(project, name, Path.cwd())
    request = job_star.read(JobDirectory(project, job).path)
    try:
        job_type = project_registry(project).find(request.label)
    except UnknownJobType:
        raise UserError(f"{job} is of type {request.label}, which is not ours; overwrite it in RELION.") from None
    changes = settings.as_project_paths(job_type, settings.parse_assignments(assignments), project=project, cwd=Path.cwd())
    # ticks are for "Continue!": the new job starts with its first task
    ticks = dict.fromkeys((task.switch for task in job_type.tasks if task.switch), NO)
    texts = settings.with_changes(job_type, settings.new_texts(job_type) | request.values, ticks | changes)
    for sentence in overwriting.overwrite_job(project, job, job_type, texts):
        complain(f"Warning: {sentence}")
    say(job)
    return 0


def clean(names: Sequence[str], *, harsh: bool, everything: bool) -> int:
    """Move what jobs can do without to the Trash."""
    project = locate(Path.cwd())
    registry = project_registry(project)
    if everything == bool(names):
        raise UserError("Name the jobs to clean, or give --all.")
    complaints: list[str] = []
    if everything:
        cleaned, complaints = cleaning.clean_all(project, registry, harsh=harsh)
    else:
        jobs = [resolve_job(project, name, Path.cwd()) for name in names]
        cleaned = [cleaning.clean_job(project, job, registry, harsh=harsh) for job in jobs]
    for one in cleaned:
        say(f"{one.name}: {len(one.paths)} files of {one.n_bytes / 1e6:.1f} MB moved to {TRASH}/.")
    for complaint in complaints:
        complain(complaint)
    if not cleaned and not complaints:
        say("No job to clean.")
    return 1 if complaints else 0


def verify(*, mend: bool) -> int:
    """Check the project; 1 where something is wrong and was not mended."""
    project = verifying.locate_damaged(Path.cwd())
    findings = verifying.verify(project)
    left = 0
    for finding in findings:
        say(finding.sentence)
        if mend and finding.mend is not None:
            try:
                say(f"  mended: {finding.mend()}")
            except UserError as error:
                say(f"  not mended: {error}")
                left += 1
            continue
        left += finding.is_wrong
        if finding.mend is not None:
            say("  'relion_jobs verify --mend' mends it.")
        elif finding.remedy:
            say(f"  {finding.remedy}")
    if not findings:
        say(f"{project}: nothing is wrong.")
    return 1 if left else 0
