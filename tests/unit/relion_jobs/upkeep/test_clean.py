"""A clean moves what a job can do without to the Trash, and nothing that the pipeline, job.star or a continuation needs."""

import subprocess
from pathlib import Path

import pytest

from relion_jobs.contract.errors import UserError
from relion_jobs.contract.labels import Status
from relion_jobs.contract.nodes import Node
from relion_jobs.ondisk import job_star
from relion_jobs.ondisk.project import create, edit_pipeline
from relion_jobs.pipeline.graph import Process, add_outputs, add_process, with_status
from relion_jobs.running.registry import registry
from relion_jobs.upkeep.clean import clean_all, clean_job
from relion_jobs.upkeep.delete import delete_jobs, undelete

JOB = "DynaMight/job001/"
CHECKPOINTS = "forward_deformations/checkpoints"
NEEDED = (
    "run.out", "note.txt", "logfile.pdf", "forward_deformations/history.json", f"{CHECKPOINTS}/checkpoint_final.pth",
    "inverse_deformations/inv_chkpt.pth", "backprojection/map_half1.mrc", "backprojection/partial_sums.pth",
    "visualization/particles_half1.star", "maps/cluster02_half1.mrc",
)  # fmt: skip
LINK = "map_half1.mrc"
GENTLE = (f"{CHECKPOINTS}/078.pth", f"{CHECKPOINTS}/079.pth", "inverse_deformations/inv_chkpt_020.pth")
HARSH = ("movies/motion01_half1/volume000.mrc", "maps/cluster01_half1.mrc", "previous_001/a/b.mrc")


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """A project with a DynaMight job that has done everything; one cluster's map is a node, 080.pth stands in job.star."""
    project = create(tmp_path / "project")
    for path in (*NEEDED, *GENTLE, *HARSH, f"{CHECKPOINTS}/080.pth"):
        (project / JOB / path).parent.mkdir(parents=True, exist_ok=True)
        (project / JOB / path).write_text(path)
    (project / JOB / LINK).symlink_to(f"backprojection/{LINK}")
    with edit_pipeline(project, "test") as edit:
        row = Process(JOB, "DynaMight/run/", "dynamight", Status.SUCCEEDED)
        node = Node(f"{JOB}maps/cluster02_half1.mrc", "DensityMap.mrc")
        edit.pipeline = add_outputs(add_process(edit.pipeline, row), JOB, [node])
    values = {"other_args": f"--checkpoint-file=DynaMight/run/{CHECKPOINTS}/080.pth"}
    job_star.write(job_star.JobRequest("dynamight", True, False, values), project / JOB / "job.star")
    return project


def clean(project: Path, *, harsh: bool) -> set[str]:
    moved = clean_job(project, JOB, registry(environment={}), harsh=harsh).paths
    assert all((project / "Trash" / path).read_text() == path.removeprefix(JOB) for path in moved)
    assert not any((project / path).exists() for path in moved)
    assert all((project / JOB / path).exists() for path in (*NEEDED, LINK, f"{CHECKPOINTS}/080.pth", "job.star"))
    return {path.removeprefix(JOB) for path in moved}


def test_a_gentle_clean_moves_intermediate_checkpoints(trained):
    assert clean(trained, harsh=False) == set(GENTLE)
    assert clean(trained, harsh=False) == set()


def test_a_harsh_clean_moves_what_can_be_made_again_too(trained):
    assert clean(trained, harsh=True) == {*GENTLE, *HARSH}


def test_checkpoints_stay_while_none_is_final(trained):
    (trained / JOB / CHECKPOINTS / "checkpoint_final.pth").rename(trained / "kept.pth")
    moved = clean_job(trained, JOB, registry(environment={}), harsh=True).paths
    assert not [path for path in moved if CHECKPOINTS in path]


@pytest.mark.parametrize("status", [Status.SCHEDULED, Status.RUNNING, Status.FAILED, Status.ABORTED])
def test_only_a_job_that_has_succeeded_is_cleaned(trained, status):
    with edit_pipeline(trained, "test") as edit:
        edit.pipeline = with_status(edit.pipeline, JOB, status)
    with pytest.raises(UserError, match="only jobs that have Succeeded"):
        clean_job(trained, JOB, registry(environment={}), harsh=False)
    assert clean_all(trained, registry(environment={}), harsh=False) == ([], [])


def test_a_harsh_clean_of_all_jobs_spares_those_with_the_file_of_that_name(trained):
    (trained / JOB / "NO_HARSH_CLEAN").touch()
    assert clean_all(trained, registry(environment={}), harsh=True) == ([], [])
    assert len(clean_all(trained, registry(environment={}), harsh=False)[0]) == 1


def test_a_job_that_cannot_be_read_does_not_keep_the_others_from_being_cleaned(trained):
    (trained / JOB / "job.star").write_text("garbage")
    cleaned, (complaint,) = clean_all(trained, registry(environment={}), harsh=False)
    assert cleaned == []
    assert complaint.startswith(f"{JOB} was not cleaned: ")


def test_a_link_to_elsewhere_is_moved_as_a_link_and_nothing_behind_it(trained, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "volume000.mrc").touch()
    (trained / JOB / "movies" / "motion09_half1").symlink_to(elsewhere)
    (trained / JOB / "previous_002").symlink_to(elsewhere)
    with pytest.raises(UserError, match="outside the project"):
        clean_job(trained, JOB, registry(environment={}), harsh=True)
    assert (elsewhere / "volume000.mrc").exists()


def test_links_at_the_top_of_a_job_directory_come_and_go_with_it(trained):
    delete_jobs(trained, [JOB], recursive=False)
    assert (trained / "Trash" / JOB / LINK).read_text() == "backprojection/map_half1.mrc"
    undelete(trained, JOB)
    assert (trained / JOB / LINK).readlink() == Path("backprojection/map_half1.mrc")
    # as RELION's own delete does it
    (trained / "Trash/DynaMight").mkdir(parents=True, exist_ok=True)
    subprocess.run(["mv", trained / JOB, trained / "Trash/DynaMight/"], check=True)
    assert (trained / "Trash" / JOB / LINK).read_text() == "backprojection/map_half1.mrc"
