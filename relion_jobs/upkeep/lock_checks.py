"""Who holds which lock of a project, and whether it is alive."""

from __future__ import annotations

import os
import time
from functools import partial
from pathlib import Path

from relion_jobs.contract.errors import UserError
from relion_jobs.contract.labels import LOCK_DIRECTORY
from relion_jobs.ondisk.atomic import disk_error
from relion_jobs.ondisk.locks import JOB_OWNER_FILE, RELION_WAIT_SECONDS
from relion_jobs.ondisk.names import entry_in_project
from relion_jobs.ondisk.owner import Owner, ago
from relion_jobs.pipeline.graph import Pipeline
from relion_jobs.upkeep.findings import Finding

# RELION holds the project's lock for moments, and gives up after a minute of waiting for another one
STALE_SECONDS = 5 * RELION_WAIT_SECONDS


def lock_findings(project: Path) -> list[Finding]:
    """Locks of the project and of schemes: their owner, their age; one that nobody holds any more can be removed."""
    found = []
    for folder in [project / LOCK_DIRECTORY, *sorted(project.glob(f"{LOCK_DIRECTORY}_scheme_*"))]:
        if not os.path.lexists(folder):
            continue
        text, since = _holder(folder)
        owner = Owner.find(text)
        who = str(owner) if owner else f"'{text}'" if text else "a program that left no name"
        what = f"{folder.name} is held by {who}, {ago(since)}"
        # a scheme's lock is held as long as the scheme runs; only its owner's death says that it is stale
        is_old = folder.name == LOCK_DIRECTORY and time.time() - since > STALE_SECONDS
        if (owner and owner.is_dead()) or (owner is None and is_old):
            why = "which is not running any more" if owner else "far longer than RELION ever holds it"
            found.append(Finding(f"{what}, {why}.", partial(_remove, project, folder, text)))
        else:
            user = "nothing writes the pipeline" if folder.name == LOCK_DIRECTORY else "the scheme does not run"
            remedy = f"If {user} any more, remove {folder}."
            found.append(Finding(f"{what}.", remedy=remedy, is_wrong=False))
    return found


def owner_findings(project: Path, pipeline: Pipeline) -> list[Finding]:
    """Jobs that a process of this machine says to run though it is gone and the job has ended."""
    found = []
    for process in pipeline.processes:
        file = project / process.name / JOB_OWNER_FILE
        try:
            owner = Owner.find(file.read_text(errors="replace"))
        except OSError:
            continue
        if owner and owner.is_dead():
            sentence = f"{process.name} names {owner} as the one that runs it, which is not running any more."
            found.append(Finding(sentence, partial(_remove_file, project, file)))
    return found


def _holder(folder: Path) -> tuple[str, float]:
    """Return what the file in a lock says, and since when it is there (seconds since 1970)."""
    try:
        files = [path for path in folder.iterdir() if path.is_file()]
        newest = max((path.stat().st_mtime for path in files), default=folder.stat().st_mtime)
        return " ".join(path.read_text(errors="replace").strip() for path in files), newest
    except OSError:
        return "", time.time()


def _remove(project: Path, folder: Path, text: str) -> str:
    entry = entry_in_project(project, folder.name)
    if _holder(entry)[0] != text:
        raise UserError(f"{folder.name} has another holder by now; nothing was removed.")
    try:
        for path in entry.iterdir():
            path.unlink()
        entry.rmdir()
    except OSError as error:
        raise disk_error(error, entry, "remove") from error
    return f"removed {folder.name}."


def _remove_file(project: Path, file: Path) -> str:
    name = str(file.relative_to(project))
    entry_in_project(project, name).unlink(missing_ok=True)
    return f"removed {name}."
