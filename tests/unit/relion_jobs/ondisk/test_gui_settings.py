import pytest

from relion_jobs.contract.errors import UserError
from relion_jobs.ondisk import job_star
from relion_jobs.ondisk.gui_settings import gui_settings_path, write_gui_settings
from relion_jobs.ondisk.job_star import JobRequest


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("dynamight", ".gui_dynamightjob.star"),
        ("relion.external", ".gui_externaljob.star"),
        ("relion.postprocess", ".gui_postjob.star"),
        ("relion.maskcreate", ".gui_maskcreatejob.star"),
        ("relion.external.simulate", ".gui_simulatejob.star"),
    ],
)
def test_a_job_type_has_the_file_that_relion_reads(tmp_path, label, name):
    assert gui_settings_path(tmp_path, label) == tmp_path / name


def test_settings_are_kept_for_the_next_job(tmp_path):
    request = JobRequest("dynamight", True, False, {"fn_map": "map.mrc"})
    assert job_star.read(write_gui_settings(tmp_path, "dynamight", request)) == request


def test_a_label_that_is_no_file_name_is_refused(tmp_path):
    with pytest.raises(UserError):
        gui_settings_path(tmp_path, "relion.external.my job")
