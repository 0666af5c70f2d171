"""Results that another run takes the place of: kept in the job directory, out of the way."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


def set_aside(job_directory: Path, results: Iterable[Path]) -> Path:
    """Move results of a job into the next free ``previous_NNN/`` of its directory.

    Parameters
    ----------
    job_directory
        Of the job.
    results
        Files and folders in it; ``a/b`` becomes ``previous_NNN/a/b``. What is not there is left out.

    Returns
    -------
    Path
        The new folder.
    """
    number = 1
    while (target := job_directory / f"previous_{number:03d}").exists():
        number += 1
    target.mkdir()
    for path in results:
        if path.exists():
            place = target / path.relative_to(job_directory)
            place.parent.mkdir(parents=True, exist_ok=True)
            path.rename(place)
    return target
