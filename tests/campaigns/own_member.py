"""One of ours in a crowd: adds jobs and finishes them as the commands do, and notes when it held the lock."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from relion_jobs.contract.labels import EXIT_SUCCESS, Status
from relion_jobs.ondisk import locks
from relion_jobs.ondisk.job_directory import JobDirectory
from relion_jobs.ondisk.project import edit_pipeline
from relion_jobs.pipeline.graph import with_status
from relion_jobs.running.finish import notice_ends
from relion_jobs.running.launch import new_job
from relion_jobs.running.registry import project_registry
from relion_jobs.running.settings import new_texts


def main(project: Path, number: str, jobs: int) -> None:
    """Add and finish `jobs` jobs."""
    _note_spans(project / "lock_spans" / number)
    (project / "parts.star").touch()
    job_type = project_registry(project).find("toy")
    texts = new_texts(job_type) | {"fn_in": "parts.star"}
    for _ in range(jobs):
        name = new_job(project, job_type, texts)
        (project / name / f"claimed_by_{number}").touch()
        with edit_pipeline(project, f"runJob: {name}") as edit:
            edit.pipeline = with_status(edit.pipeline, name, Status.RUNNING)
        JobDirectory(project, name).write_mark(EXIT_SUCCESS)
        notice_ends(project, [name])


def _note_spans(path: Path) -> None:
    """Write begin and end of each time that this process holds the lock, on the clock that all processes share."""
    make, give_back = locks._make, locks._give_back
    taken = [0.0]

    def noting_make(lock: locks.ProjectLock) -> bool:
        done = make(lock)
        taken[0] = time.monotonic()
        return done

    def noting_give_back(lock: locks.ProjectLock) -> None:
        with path.open("a") as file:
            file.write(f"{taken[0]:.6f} {time.monotonic():.6f}\n")
        give_back(lock)

    locks._make, locks._give_back = noting_make, noting_give_back


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
