"""Declaration of the job type `dynamight`: RELION 5's "DynaMight flexibility"."""

from __future__ import annotations

from pathlib import Path

from relion_jobs.contract.jobtype import Cleanable, JobType, Task, Tool
from relion_jobs.contract.options import read_options

HALF_MAP = "DensityMap.mrc.relion.halfmap.dynamight"
_FINAL_CHECKPOINT = "forward_deformations/checkpoints/checkpoint_final.pth"

JOB_TYPE = JobType(
    name="dynamight",
    title="DynaMight flexibility",
    label="dynamight",
    directory="DynaMight",
    description="Learns how each particle's molecule is deformed, and sharpens the map with it.",
    options=read_options(Path(__file__).with_name("job.yaml")),
    tasks=(
        Task(
            name="forward_deformations",
            title="forward deformations",
            run="jobtypes.dynamight.forward_deformations.task:run",
            check="jobtypes.dynamight.forward_deformations.task:check",
            command="optimize-deformations",
            shares_work=True,
        ),
        Task(
            name="visualization",
            title="visualization",
            run="jobtypes.dynamight.visualization.task:run",
            check="jobtypes.dynamight.visualization.task:check",
            command="explore-latent-space",
            switch="do_visualize",
        ),
        Task(
            name="inverse_deformations",
            title="inverse-deformation estimation",
            run="jobtypes.dynamight.inverse_deformations.task:run",
            check="jobtypes.dynamight.inverse_deformations.task:check",
            command="optimize-inverse-deformations",
            switch="do_inverse",
        ),
        Task(
            name="backprojection",
            title="deformed backprojection",
            run="jobtypes.dynamight.backprojection.task:run",
            check="jobtypes.dynamight.backprojection.task:check",
            command="deformable-backprojection",
            switch="do_reconstruct",
            outputs=(("backprojection/map_half1.mrc", HALF_MAP), ("backprojection/map_half2.mrc", HALF_MAP)),
        ),
    ),
    device_option="gpu_id",
    all_tasks=("inverse_deformations", "backprojection"),
    cleanables=(
        Cleanable("forward_deformations/checkpoints/[0-9]*.pth", needs=_FINAL_CHECKPOINT),
        Cleanable("forward_deformations/spectra_half*.tmp", needs=_FINAL_CHECKPOINT),
        Cleanable("inverse_deformations/inv_chkpt_[0-9]*.pth", needs="inverse_deformations/inv_chkpt.pth"),
        Cleanable("movies/*/*.mrc", harsh=True),
        Cleanable("maps/*.mrc", harsh=True),
        Cleanable("previous_[0-9]*", harsh=True),
    ),
    tools=(
        Tool(
            name="export",
            run="jobtypes.dynamight.export:main",
            help="write a job's latents, Gaussians and displacements as numpy files",
        ),
        Tool(
            name="deform",
            run="jobtypes.dynamight.inverse_deformations.deform:main",
            help="carry an atomic model from the consensus to a particle's state, or back",
        ),
        Tool(
            name="subset",
            run="jobtypes.dynamight.visualization.subset:main",
            help="write particles chosen by latent, motion, cluster, polygon or displacement as a STAR file",
        ),
    ),
)
