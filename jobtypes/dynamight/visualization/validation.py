"""Half-set 0 without a window: how far the halves' models disagree about particles that trained neither, and those particles."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from jobtypes.common.particles import write_particles
from jobtypes.common.whole_files import written_whole
from jobtypes.dynamight import layout
from jobtypes.dynamight.model.result import ForwardResult, particles_of
from jobtypes.dynamight.outputs import HELD_OUT_ERROR, register_particles
from jobtypes.dynamight.visualization.figures import draw_disagreement
from jobtypes.dynamight.visualization.held_out import HeldOutParticles, held_out_particles
from relion_jobs.contract.running_job import RunningJob


def compare_halves(forward: ForwardResult, job: RunningJob) -> None:
    """Draw where the two halves' models disagree about held-out particles, and write these particles.

    Parameters
    ----------
    forward
        Both halves.
    job
        The running job, for the log and the output nodes.
    """
    particles = held_out_particles(forward)
    found = particles.disagreements
    for half, part in found.items():
        job.report(
            f"Held-out particles of half {half}: the two models disagree by {part.rms_error_angstroms:.2f} A rms where "
            f"the motion is {part.rms_motion_angstroms:.2f} A rms (correlation {part.correlation:.3f})."
        )
    draw_disagreement(
        {half: part.particle_error.numpy() for half, part in found.items()},
        {half: part.particle_motion.numpy() for half, part in found.items()},
        {half: part.gaussian_error.numpy() for half, part in found.items()},
        {half: part.gaussian_motion.numpy() for half, part in found.items()},
        job.directory / layout.DISAGREEMENT_FIGURE,
    )
    names = ("rms_error_angstroms", "rms_motion_angstroms", "correlation")
    numbers = {f"half{half}": {name: getattr(part, name) for name in names} for half, part in found.items()}
    with written_whole(job.directory / layout.DISAGREEMENT) as temporary:
        temporary.write_text(json.dumps(numbers, indent=1))
    _write_held_out(particles, job, job.directory / layout.HELD_OUT_PARTICLES)


def _write_held_out(particles: HeldOutParticles, job: RunningJob, path: Path) -> None:
    """Write the held-out particles of both halves as they are in the job's STAR file, with motion and disagreement in A."""
    order = np.argsort(particles.rows)
    columns = {"rlnDynamightRmsDisplacement": particles.motion[order], HELD_OUT_ERROR: particles.errors[order]}
    write_particles(particles_of(particles.forward, job.project), path, rows=particles.rows[order], **columns)
    register_particles(path, job.add_output)
    job.report(f"Wrote the {len(particles)} held-out particles of both halves to {path}, disagreement in A beside each.")
