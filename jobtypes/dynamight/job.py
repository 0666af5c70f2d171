"""Declaration of the job type `dynamight`: RELION 5's "DynaMight flexibility"."""

from __future__ import annotations

from jobtypes.dynamight import layout
from jobtypes.dynamight.options import OPTIONS
from relion_jobs.contract.jobtype import Cleanable, JobType, Task, Tool

JOB_TYPE = JobType(
    name="dynamight",
    title="DynaMight flexibility",
    label="dynamight",
    directory="DynaMight",
    description="Learns how each particle's molecule is deformed, and sharpens the map with it.",
    options=OPTIONS,
    tasks=(
        Task(
            name="forward_deformations",
            title="forward deformations",
            run="jobtypes.dynamight.forward_deformations.task:run",
            check="jobtypes.dynamight.forward_deformations.task:check",
            command="optimize-deformations",
            memory_remedy="take a smaller training_batch_size, fewer Gaussians (nr_gaussians) or do_preload No",
            shares_work=True,
        ),
        Task(
            name="visualization",
            title="visualization",
            run="jobtypes.dynamight.visualization.task:run",
            check="jobtypes.dynamight.visualization.task:check",
            command="explore-latent-space",
            memory_remedy="take the embedding pca or raw",
            shares_work=True,
            switch="do_visualize",
        ),
        Task(
            name="inverse_deformations",
            title="inverse-deformation estimation",
            run="jobtypes.dynamight.inverse_deformations.task:run",
            check="jobtypes.dynamight.inverse_deformations.task:check",
            command="optimize-inverse-deformations",
            memory_remedy="take do_store_deform No",
            shares_work=True,
            switch="do_inverse",
        ),
        Task(
            name="backprojection",
            title="deformed backprojection",
            run="jobtypes.dynamight.backprojection.task:run",
            check="jobtypes.dynamight.backprojection.task:check",
            command="deformable-backprojection",
            memory_remedy="take a smaller backproject_batchsize, fewer bins (max_bins) or the backprojection_field forward, or "
            "bin the particles, since most of it grows with the box",
            shares_work=True,
            switch="do_reconstruct",
            outputs=tuple((str(layout.half_map(half)), layout.HALF_MAP_LABEL) for half in (1, 2)),
        ),
        Task(
            name="states",
            title="maps of states from their images",
            run="jobtypes.dynamight.states.task:run",
            check="jobtypes.dynamight.states.task:check",
            command="states-from-data",
            memory_remedy="take a smaller backproject_batchsize or fewer bins (max_bins), or bin the particles, since most of it "
            "grows with the box",
            shares_work=True,
            switch="do_states_from_data",
        ),
    ),
    device_option="gpu_id",
    all_tasks=("inverse_deformations", "backprojection"),
    program="fn_dynamight_exe",
    cleanables=(
        Cleanable(layout.CHECKPOINT_PATTERN, needs=str(layout.FINAL_CHECKPOINT)),
        Cleanable(layout.SPECTRA_PATTERN, needs=str(layout.FINAL_CHECKPOINT)),
        Cleanable(layout.INVERSE_PATTERN, needs=str(layout.FINAL_INVERSE)),
        Cleanable(layout.MOVIE_VOLUME_PATTERN, harsh=True),
        Cleanable(layout.STATE_PATTERN, harsh=True),
        Cleanable(layout.SET_ASIDE_PATTERN, harsh=True),
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
            name="page",
            run="jobtypes.dynamight.visualization.page.command:main",
            help="write one file that shows everything in a browser",
        ),
        Tool(
            name="subset",
            run="jobtypes.dynamight.visualization.subset:main",
            help="write particles chosen by latent, motion, cluster, polygon or displacement as a STAR file",
        ),
    ),
)
