"""All checks of a project, and what mends a pipeline that cannot be read."""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

from relion_jobs.contract.errors import BadStarFile, UserError
from relion_jobs.contract.labels import PIPELINE_STAR, PROJECT_MARK
from relion_jobs.ondisk import pipeline_star
from relion_jobs.ondisk.atomic import write_whole
from relion_jobs.ondisk.locks import project_lock
from relion_jobs.ondisk.project import locate, read_pipeline, touch_changed
from relion_jobs.upkeep import checks
from relion_jobs.upkeep.findings import Finding
from relion_jobs.upkeep.lock_checks import lock_findings, owner_findings
from relion_jobs.upkeep.scheme_checks import scheme_findings

# in the order in which they are mended: what one mends, a later one need not
CHECKS = (
    checks.directory_findings,
    checks.orphan_findings,
    checks.counter_findings,
    checks.alias_findings,
    checks.status_findings,
    owner_findings,
    checks.node_findings,
    checks.settings_findings,
    checks.overwritten_findings,
)


def locate_damaged(path: Path) -> Path:
    """Return the project that `path` lies in, also where its pipeline is lost and only RELION's mark says that it is one."""
    for folder in (Path(os.path.abspath(path)), *Path(os.path.abspath(path)).parents):
        if (folder / PROJECT_MARK).is_file():
            return folder
    return locate(path)


def verify(project: Path) -> list[Finding]:
    """Check a project: pipeline against directories, nodes against files, locks, links, numbers. Changes nothing.

    A pipeline that cannot be read is the only finding besides locks and schemes, since nothing else can be checked then.
    """
    found = [*lock_findings(project), *scheme_findings(project)]
    try:
        pipeline = read_pipeline(project)
    except UserError as error:
        return [*found, _unreadable(project, error)]
    found += [*checks.name_findings(project, pipeline), *checks.edge_findings(project, pipeline)]
    # no other check follows a row out of the project
    pipeline = replace(pipeline, processes=checks.sound_rows(project, pipeline))
    for check in CHECKS:
        found += check(project, pipeline)
    return found


def _unreadable(project: Path, error: UserError) -> Finding:
    copy = newest_copy(project)
    if copy is None:
        return Finding(str(error), remedy="No job directory has a copy that can be read; put a backup of your own in place.")
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(copy.stat().st_mtime))
    sentence = f"{error} The newest copy that can be read is {copy.relative_to(project)} of {when}."
    return Finding(sentence, partial(_restore, project, copy))


def newest_copy(project: Path) -> Path | None:
    """Return the newest default_pipeline.star in a job directory that can be read; None where there is none."""
    copies = sorted(project.glob(f"*/job[0-9]*/{PIPELINE_STAR}"), key=lambda path: path.stat().st_mtime, reverse=True)
    for copy in copies:
        try:
            pipeline_star.read(copy)
        except (BadStarFile, UserError):
            continue
        return copy
    return None


def _restore(project: Path, copy: Path) -> str:
    file = project / PIPELINE_STAR
    aside = file.with_name(f"{PIPELINE_STAR}.damaged_{time.strftime('%Y%m%d_%H%M%S')}")
    with project_lock(project, "restore the pipeline"):
        if file.exists():
            shutil.copy2(file, aside)
        write_whole(file, copy.read_bytes())
    touch_changed(project)
    return f"put it in place, the damaged one is now {aside.name}; run 'relion_jobs verify' again for jobs that are newer."
