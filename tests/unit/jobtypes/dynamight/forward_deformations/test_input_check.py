from __future__ import annotations

from pathlib import Path

import mrcfile
import numpy as np
import pytest

from jobtypes.dynamight import layout
from jobtypes.dynamight.forward_deformations.task import check, run
from jobtypes.dynamight.model.result import load_centred_result, particles_of
from relion_jobs.contract.errors import UserError

JOB = Path("DynaMight/job001")
REFUSED = "its x, y, z taken as z, "  # the molecule is its own mirror image in y


@pytest.fixture
def reversed_axes(project):
    """The map as a program writes it that takes its slowest axis for the fastest."""
    with mrcfile.open(project / "map.mrc", mode="r+") as file:
        file.set_data(file.data.transpose().copy())
    return project


def test_a_check_says_that_inputs_fit(project, values):
    assert any("Inputs: 48 particles of 1 optics group(s)" in sentence for sentence in check(values(), JOB))


def test_a_check_refuses_what_does_not_fit_and_names_the_option(reversed_axes, values):
    with pytest.raises(UserError, match=REFUSED) as refused:
        check(values(), JOB)
    assert "set accept_misfit to Yes (--accept-misfit)" in str(refused.value)


def test_a_training_that_is_refused_leaves_the_figure(reversed_axes, new_job, values):
    with pytest.raises(UserError, match=REFUSED):
        run(values(), new_job())
    assert (JOB / layout.AGREEMENT_FIGURE).is_file()
    assert not (JOB / layout.CHECKPOINTS).exists()


def test_what_is_accepted_is_warned_of(reversed_axes, values):
    assert check(values(extra="--accept-misfit"), JOB)[0].startswith("Warning: The particles of ")
    assert REFUSED in check(values(extra="--accept-misfit"), JOB)[0]


def test_a_training_draws_how_its_inputs_agree(new_job, values):
    run(values(), new_job())
    assert (JOB / layout.AGREEMENT_FIGURE).is_file()


def test_later_tasks_take_the_images_for_what_the_training_found(new_job, values, project):
    """The images of this set have a CTF of one sign, so that nothing can be found, and the file is believed."""
    star = (project / "particles.star").read_text()
    star = star.replace(
        "_rlnImageSize #6\n1 300.0 2.7 0.1 4.0 24", "_rlnImageSize #6\n_rlnCtfDataArePhaseFlipped #7\n1 300.0 2.7 0.1 4.0 24 1"
    )
    (project / "particles.star").write_text(star)
    run(values(), new_job())
    forward = load_centred_result(JOB)
    assert forward.phase_flipped == (True,)
    assert particles_of(forward, project).optics.phase_flipped.tolist() == [True]
    assert np.all(particles_of(forward, project).ctf_parameters().phase_flipped.numpy())
