from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from jobtypes.common.particles import read_particles
from jobtypes.dynamight.outputs import HELD_OUT_ERROR, write_forward_outputs
from jobtypes.dynamight.visualization import task
from jobtypes.dynamight.visualization.held_out import held_out_particles
from jobtypes.dynamight.visualization.validation import compare_halves
from relion_jobs.contract.errors import UserError


def written_errors(path: Path) -> np.ndarray:
    return read_particles(path).source["particles"].read(numbers=(HELD_OUT_ERROR,))[HELD_OUT_ERROR]


def test_half_set_0_shows_the_errors_that_the_training_has_written_and_needs_no_images(flexible_job, forward) -> None:
    write_forward_outputs(forward, [], flexible_job)
    column = written_errors(flexible_job.directory / "forward_deformations/particles.star")
    Path("stack.mrcs").unlink()
    particles = held_out_particles(forward)
    assert (column[particles.rows] == particles.errors).all()
    assert (np.delete(column, particles.rows) == -1).all()
    compare_halves(forward, flexible_job)
    written = flexible_job.directory / "visualization/particles_half0.star"
    assert (written_errors(written) == column[np.sort(particles.rows)]).all()


def test_halves_with_a_single_held_out_particle_cannot_be_compared(flexible_job, forward) -> None:
    for part in forward.halves.values():
        part.held_out[1:] = False
    with pytest.raises(UserError, match=r"Half 1 has 1 held-out particle\(s\), .* expected at least 2"):
        compare_halves(forward, flexible_job)


def test_half_set_0_of_a_training_that_has_not_ended_is_refused(flexible_job, build_checkpoint) -> None:
    sentence = r"012.pth is of a training that has not ended, .*; continue the forward deformations to their end"
    shutil.rmtree(flexible_job.directory / "forward_deformations")
    build_checkpoint(flexible_job.project, has_ended=False, name="012.pth")
    for refused in (lambda: task.check({"halfset": 0}, flexible_job.directory), lambda: task.run({"halfset": 0}, flexible_job)):
        with pytest.raises(UserError, match=sentence):
            refused()
    assert "half 1" in " ".join(task.check({"halfset": 1}, flexible_job.directory))
