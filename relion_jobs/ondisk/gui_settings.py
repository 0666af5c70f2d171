""".gui_*job.star: the defaults of the next job in RELION's GUI."""

from __future__ import annotations

from pathlib import Path

from relion_jobs.ondisk.job_star import JobRequest


def gui_settings_path(project: Path, label: str) -> Path:
    """File of the last settings of a job type, e.g. ``.gui_dynamightjob.star``."""
    raise NotImplementedError


def write_gui_settings(project: Path, label: str, request: JobRequest) -> Path:
    """Keep `request` as the defaults of the next job of type `label`."""
    raise NotImplementedError
