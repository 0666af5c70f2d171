"""site.yaml: queue template, GPUs, plugin folders."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Site:
    """What is special about this place; everything is optional.

    Parameters
    ----------
    queue_template
        Submission script template, used where a job names none.
    queue_name, queue_command
        Defaults of ``queuename`` and ``qsub``.
    plugin_folders
        Folders in which further job types are looked for.
    gpus
        GPUs that jobs may use; None: all.
    """

    queue_template: Path | None = None
    queue_name: str | None = None
    queue_command: str | None = None
    plugin_folders: tuple[Path, ...] = ()
    gpus: tuple[int, ...] | None = None


def read_site(project: Path | None = None, environment: Mapping[str, str] = os.environ) -> Site:
    """Read the first of $RELION_JOBS_SITE, ``PROJECT/site.yaml``, ``~/.config/relion_jobs/site.yaml``; defaults without one."""
    raise NotImplementedError
