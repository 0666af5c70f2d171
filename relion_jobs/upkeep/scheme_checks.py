"""The schemes of a project: files that cannot be read, rows that RELION's schemer adds by mistake."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from relion_jobs.contract.errors import UserError
from relion_jobs.ondisk.locks import scheme_lock
from relion_jobs.schemes import scheme_star
from relion_jobs.upkeep.findings import Finding


def scheme_findings(project: Path) -> list[Finding]:
    """Schemes that cannot be read, and rows of jobs that are none."""
    found = []
    for name in scheme_star.scheme_names(project):
        try:
            strays = scheme_star.stray_rows(project, name)
        except UserError as error:
            found.append(Finding(str(error), remedy="RELION's schemer keeps a copy beside it, scheme.star.bck."))
            continue
        if strays:
            sentence = (
                f"{name}{scheme_star.SCHEME_STAR} lists the job {' and '.join(strays)}, which is none: an option names a file "
                "in a folder of a job, and RELION's schemer knows those at the top of the job directory only."
            )
            found.append(Finding(sentence, partial(_take_out_strays, project, name)))
    return found


def _take_out_strays(project: Path, name: str) -> str:
    short = name.rstrip("/").rpartition("/")[2]
    with scheme_lock(project, short, f"mend {name}", wait_seconds=0.0):
        scheme_star.write(scheme_star.read(project, name), project)
    return "took it out; name the file at the top of the job directory, where there is a link to it."
