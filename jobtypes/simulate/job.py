"""Declaration of the job type `simulate`. No torch here."""

from __future__ import annotations

from pathlib import Path

from relion_jobs.contract.jobtype import JobType, Task, Tool
from relion_jobs.contract.labels import LOGFILE_PDF
from relion_jobs.contract.nodes import DENSITY_MAP, LOGFILE, MASK, PARTICLES
from relion_jobs.contract.options import read_options

PARTICLES_STAR = "particles.star"
CONSENSUS_MAP = "consensus.mrc"
HALF_MAPS = {1: "half1.mrc", 2: "half2.mrc"}
MASK_MAP = "mask.mrc"
PICTURE = "simulation.png"

OUTPUTS = (
    (PARTICLES_STAR, PARTICLES),
    (CONSENSUS_MAP, f"{DENSITY_MAP}.relion.simulate"),
    (HALF_MAPS[1], f"{DENSITY_MAP}.relion.halfmap.simulate"),
    (HALF_MAPS[2], f"{DENSITY_MAP}.relion.halfmap.simulate"),
    (MASK_MAP, MASK),
    (LOGFILE_PDF, f"{LOGFILE}.simulate"),
)

JOB_TYPE = JobType(
    name="simulate",
    title="Simulated particles",
    description="A flexible molecule with known motion: particle images, rigid maps, mask and the truth beside them.",
    options=read_options(Path(__file__).with_name("job.yaml")),
    tasks=(
        Task(
            name="simulate",
            title="simulation",
            run="jobtypes.simulate.task:run",
            check="jobtypes.simulate.task:check",
            outputs=OUTPUTS,
            memory_remedy="take a smaller box_size",
        ),
    ),
    tools=(
        Tool(
            name="score",
            run="jobtypes.simulate.score:main",
            help="compare a DynaMight job, or exported files, with the known motion of a simulated set",
        ),
        Tool(
            name="demo",
            run="jobtypes.simulate.demo:main",
            help="make a project, simulate particles, run every DynaMight task on them and compare with the truth",
        ),
    ),
)
