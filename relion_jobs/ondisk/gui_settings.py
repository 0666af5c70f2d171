""".gui_*job.star: the defaults of the next job in RELION's GUI."""

from __future__ import annotations

from pathlib import Path

from relion_jobs.contract.labels import EXTERNAL_PREFIX
from relion_jobs.ondisk import job_star
from relion_jobs.ondisk.job_star import JobRequest
from relion_jobs.ondisk.names import check_name

# where RELION's hidden name is not the label behind "relion."
_HIDDEN_NAMES = {"relion.postprocess": "post"}


def gui_settings_path(project: Path, label: str) -> Path:
    """Return the file that holds the last settings of a job type.

    ``dynamight`` -> ``.gui_dynamightjob.star``, ``relion.external`` -> ``.gui_externaljob.star``. A type that RELION does not
    know gets a file of its own (``relion.external.simulate`` -> ``.gui_simulatejob.star``): in ``.gui_externaljob.star``
    its options would become the defaults of the next External job.
    """
    if label.startswith(EXTERNAL_PREFIX):
        name = label.removeprefix(EXTERNAL_PREFIX)
    else:
        # relion.refine3d.tomo has the settings of relion.refine3d
        known = ".".join(label.split(".")[:2]) if label.startswith("relion.") else label.split(".")[0]
        name = _HIDDEN_NAMES.get(known, known.removeprefix("relion."))
    check_name(name, "job type")
    return project / f".gui_{name.replace('/', '_')}job.star"


def write_gui_settings(project: Path, label: str, request: JobRequest) -> Path:
    """Keep `request` as the defaults of the next job of type `label` and return the file."""
    path = gui_settings_path(project, label)
    job_star.write(request, path)
    return path
