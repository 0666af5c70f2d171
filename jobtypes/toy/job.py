"""Declares the job type ``toy``."""

from pathlib import Path

from relion_jobs.contract.jobtype import Cleanable, JobType, Task
from relion_jobs.contract.options import read_options

JOB_TYPE = JobType(
    name="toy",
    title="Count particles",
    description="Counts the particles of a STAR file; the example for new job types.",
    options=read_options(Path(__file__).with_name("job.yaml")),
    tasks=(
        Task(
            name="count",
            title="counting",
            run="jobtypes.toy.task:count",
            check="jobtypes.toy.task:check",
            command="count",
            outputs=(("count.txt", "LogFile.txt.toy"),),
        ),
        Task(name="report", title="report", run="jobtypes.toy.task:report", command="report", switch="do_report"),
    ),
    cleanables=(Cleanable("state.json", needs="count.txt"),),
)
