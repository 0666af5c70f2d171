import pytest

from relion_jobs.contract.errors import BadStarFile, UserError
from relion_jobs.ondisk import job_star
from relion_jobs.ondisk.job_star import JobRequest

REQUEST = JobRequest("dynamight", True, False, {"fn_star": "parts.star", "other_args": '--note it\'s "so"', "fn_map": ""})


def test_a_request_comes_back(tmp_path):
    job_star.write(REQUEST, tmp_path / "job.star")
    assert job_star.read(tmp_path / "job.star") == REQUEST


def test_options_are_sorted_by_variable(tmp_path):
    job_star.write(REQUEST, tmp_path / "job.star")
    lines = (tmp_path / "job.star").read_text().splitlines()
    assert [line.split()[0] for line in lines[-4:-1]] == ["fn_map", "fn_star", "other_args"]


def test_capital_letters_come_first_as_in_relion(tmp_path):
    job_star.write(JobRequest("dynamight", values={"a": "1", "B": "2"}), tmp_path / "job.star")
    assert (tmp_path / "job.star").read_text().endswith("         B          2 \n         a          1 \n \n")


@pytest.mark.parametrize("name", ["job.star", "", ".gui_dynamight", ".gui_dynamightjob.star"])
def test_a_file_a_directory_and_a_prefix_are_read(tmp_path, name):
    job_star.write(REQUEST, tmp_path / "job.star")
    job_star.write(REQUEST, tmp_path / ".gui_dynamightjob.star")
    assert job_star.read(tmp_path / name) == REQUEST


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"no job settings at .*job007"):
        job_star.read(tmp_path / "job007")


def test_a_job_star_of_relion_3_1_has_a_number_and_no_tomo_flag(tmp_path):
    (tmp_path / "job.star").write_text("data_job\n_rlnJobType 10\n_rlnJobIsContinue 1\n")
    assert job_star.read(tmp_path / "job.star") == JobRequest("relion.refine3d", True)


def test_run_job_of_relion_3_0_is_read_with_gui_labels(tmp_path):
    (tmp_path / "run.job").write_text(
        "job_type == 22\nis_continue == false\nNumber of Gaussians:  == 10000\nPreload images in RAM? == Yes\nOdd one == a == b\n"
    )
    request = job_star.read(tmp_path, variables={"Number of Gaussians: ": "nr_gaussians", "Preload images in RAM?": "do_preload"})
    assert request == JobRequest("dynamight", values={"nr_gaussians": "10000", "do_preload": "Yes", "Odd one": "a == b"})


def test_job_star_wins_over_run_job(tmp_path):
    (tmp_path / "run.job").write_text("job_type == 22\nis_continue == false\n")
    job_star.write(REQUEST, tmp_path / "job.star")
    assert job_star.read(tmp_path) == REQUEST


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("data_joboptions_values\nloop_\n_a\n1\n", "has no table data_job"),
        ("data_job\n_rlnJobIsContinue 1\n", "line 2: .*no _rlnJobTypeLabel"),
        ("data_job\n_rlnJobTypeLabel dynamight\n_rlnJobIsContinue yes\n", "_rlnJobIsContinue is 'yes'"),
        ("data_job\n_rlnJobTypeLabel dynamight\n\ndata_joboptions_values\nloop_\n_a\n1\n", "no column _rlnJobOptionVariable"),
    ],
)
def test_a_damaged_job_star_is_refused_in_words(tmp_path, text, problem):
    (tmp_path / "job.star").write_text(text)
    with pytest.raises(BadStarFile, match=problem):
        job_star.read(tmp_path / "job.star")


def test_a_damaged_run_job_is_refused_with_its_line(tmp_path):
    (tmp_path / "run.job").write_text("job_type == 22\nwhat is this\n")
    with pytest.raises(BadStarFile, match=r"line 2: expected '<label> == <value>'"):
        job_star.read(tmp_path / "run.job")
