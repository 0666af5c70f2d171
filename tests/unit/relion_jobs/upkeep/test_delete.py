"""Deleting and bringing back, in a project of RELION's and as RELION leaves it."""

import os
import time

import pytest

from relion_jobs.contract.errors import UserError
from relion_jobs.contract.labels import Status
from relion_jobs.ondisk import job_star, pipeline_star
from relion_jobs.ondisk.owner import Owner
from relion_jobs.ondisk.project import edit_pipeline, read_pipeline
from relion_jobs.pipeline.graph import with_status
from relion_jobs.running.registry import registry
from relion_jobs.upkeep.delete import delete_jobs, empty_trash, undelete
from relion_jobs.upkeep.overwrite import overwrite_job

from .conftest import SNAPSHOTS  # isort: skip

AFTER = SNAPSHOTS / "15_deleted"
JOB = "DynaMight/job004/"
CONTINUED = "DynaMight/job002/"


def tree(project):
    """All paths of a project but locks, with the bytes of files."""
    found = {}
    for path in sorted(project.rglob("*")):
        name = str(path.relative_to(project))
        if "relion_jobs" not in path.name and not name.startswith(".pipeline_has_changed"):
            found[name] = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
    return found


def test_a_deletion_leaves_what_relion_left(relion_project):
    delete_jobs(relion_project, [JOB], recursive=False)
    assert (relion_project / "default_pipeline.star").read_bytes() == (AFTER / "default_pipeline.star").read_bytes()
    expected = {path.name: path.read_bytes() for path in (AFTER / "Trash" / JOB).iterdir()}
    assert {path.name: path.read_bytes() for path in (relion_project / "Trash" / JOB).iterdir()} == expected
    assert not os.path.lexists(relion_project / "DynaMight" / "my_relion_dm_fail")
    assert (relion_project / ".pipeline_has_changed").exists()
    assert not (relion_project / ".relion_lock").exists()


@pytest.mark.parametrize("recursive", [False, True])
def test_everything_comes_back_but_the_order_of_the_rows(relion_project, recursive):
    before, files = read_pipeline(relion_project), tree(relion_project)
    delete_jobs(relion_project, ["External/job001/"], recursive=recursive)
    undelete(relion_project, "Trash/External/job001/job_pipeline.star")
    after = read_pipeline(relion_project)
    assert set(after.processes) == set(before.processes)
    assert set(after.nodes) == set(before.nodes)
    assert set(after.input_edges) == set(before.input_edges)
    assert set(after.output_edges) == set(before.output_edges)
    now = tree(relion_project)
    changed = {name for name in files.keys() | now.keys() if files.get(name) != now.get(name)}
    completed = {name for name in changed if name.endswith("/job_pipeline.star")}
    assert changed - completed <= {"default_pipeline.star", "Trash", "Trash/External", "Trash/DynaMight"}


def test_a_recursive_deletion_takes_all_that_hangs_on_the_job(relion_project):
    delete_jobs(relion_project, ["External/job009/"], recursive=True)
    assert {path.name for path in (relion_project / "Trash").glob("*/*")} == {"job009", "job010"}
    assert [path.parent.name for path in (relion_project / "Trash").rglob("deleted_pipeline.star")] == ["job009"]


def test_a_job_that_stays_is_told_to_have_lost_its_input(relion_project):
    told = delete_jobs(relion_project, ["External/job009/"], recursive=False)
    assert any(sentence.startswith("DynaMight/job010/ used its output") for sentence in told)


def test_a_job_that_relion_deleted_comes_back_with_status_alias_and_inputs(relion_project, tmp_path):
    import shutil

    project = tmp_path / "deleted_by_relion"
    shutil.copytree(AFTER, project)
    undelete(project, "job004")
    job = read_pipeline(project).process(JOB)
    assert (job.status, job.alias) == (Status.FAILED, "DynaMight/my_relion_dm_fail/")
    assert len(read_pipeline(project).inputs_of(JOB)) == 2
    assert os.readlink(project / "DynaMight" / "my_relion_dm_fail") == "../DynaMight/job004/"


def relions_record(project):
    """What RELION's own Undelete reads: process, inputs and outputs of job_pipeline.star in the Trash."""
    part = pipeline_star.read(project / "Trash" / CONTINUED / "job_pipeline.star")
    return part.processes, set(part.inputs_of(CONTINUED)), set(part.outputs_of(CONTINUED))


@pytest.mark.parametrize("way", ["delete", "overwrite"])
def test_relions_own_undelete_finds_all_edges_of_a_job_that_relion_has_continued(relion_project, way):
    before = read_pipeline(relion_project)
    at_launch = pipeline_star.read(relion_project / CONTINUED / "job_pipeline.star")
    assert at_launch.inputs_of(CONTINUED) == ()
    if way == "delete":
        delete_jobs(relion_project, [CONTINUED], recursive=False)
    else:
        values = job_star.read(relion_project / CONTINUED).values | {"fn_checkpoint": ""}
        overwrite_job(relion_project, CONTINUED, registry().find("dynamight"), values)
    processes, inputs, outputs = relions_record(relion_project)
    assert [(one.name, one.status) for one in processes] == [(CONTINUED, before.process(CONTINUED).status)]
    assert inputs == set(before.inputs_of(CONTINUED)) != set()
    assert outputs == set(before.outputs_of(CONTINUED)) != set()


def test_without_deleted_pipeline_star_the_mark_says_how_it_ended(relion_project):
    delete_jobs(relion_project, [JOB], recursive=False)
    folder = relion_project / "Trash" / JOB
    (folder / "deleted_pipeline.star").unlink()
    (folder / "RELION_JOB_EXIT_ABORTED").touch()
    undelete(relion_project, JOB)
    assert read_pipeline(relion_project).process(JOB).status is Status.ABORTED


def test_a_running_job_is_not_deleted(relion_project):
    with edit_pipeline(relion_project, "test") as edit:
        edit.pipeline = with_status(edit.pipeline, JOB, Status.RUNNING)
    with pytest.raises(UserError, match="is Running; abort it first"):
        delete_jobs(relion_project, [JOB], recursive=False)
    assert (relion_project / JOB).is_dir()


def test_a_job_that_a_live_process_holds_is_not_deleted(relion_project):
    (relion_project / JOB / ".relion_jobs_run.owner").write_text(f"{Owner.this_process()}\n")
    with pytest.raises(UserError, match="is being run by process"):
        delete_jobs(relion_project, [JOB], recursive=False)


def test_a_job_in_use_again_is_not_replaced_by_the_one_in_the_trash(relion_project):
    delete_jobs(relion_project, [JOB], recursive=False)
    (relion_project / JOB).mkdir()
    with pytest.raises(UserError, match="cannot take its place"):
        undelete(relion_project, JOB)
    assert read_pipeline(relion_project).find(JOB) is None


@pytest.mark.parametrize("name", ["job099", "DynaMight/job005", "/etc", "../x", "Trash"])
def test_what_is_not_in_the_trash_does_not_come_back(relion_project, name):
    delete_jobs(relion_project, [JOB], recursive=False)
    with pytest.raises(UserError, match="the Trash holds DynaMight/job004/"):
        undelete(relion_project, name)


def test_of_two_records_the_newer_counts(relion_project):
    delete_jobs(relion_project, [JOB], recursive=False)
    stale = relion_project / "Trash" / "DynaMight" / "job077"
    stale.mkdir()
    text = (relion_project / "Trash" / JOB / "deleted_pipeline.star").read_text()
    (stale / "deleted_pipeline.star").write_text(text.replace("Failed", "Aborted"))
    os.utime(stale / "deleted_pipeline.star", (time.time() - 999, time.time() - 999))
    undelete(relion_project, JOB)
    assert read_pipeline(relion_project).process(JOB).status is Status.FAILED


def test_emptying_the_trash_says_what_went(relion_project):
    delete_jobs(relion_project, [JOB], recursive=False)
    assert "among them the job DynaMight/job004/" in empty_trash(relion_project)
    assert not (relion_project / "Trash").exists()


@pytest.mark.parametrize(
    "written",
    [
        "./External/job001/particles.star",
        "External//job001/particles.star",
        "{project}/External/job001/particles.star",
        "DynaMight/../External/job001/particles.star",
        "External/inputs/particles.star",
        "link.star",
    ],
)
def test_a_recursive_deletion_finds_jobs_that_name_their_input_in_another_way(relion_project, written):
    (relion_project / "link.star").symlink_to("External/job001/particles.star")
    written = written.format(project=relion_project)
    file = relion_project / "default_pipeline.star"
    rows = [line.split() for line in file.read_text().splitlines()]
    lines = file.read_text().splitlines()
    kept = [line for line, row in zip(lines, rows, strict=True) if row != ["External/job001/map.mrc", JOB]]
    edge = f"External/job001/particles.star {JOB}"
    assert len(kept) == len(lines) - 1
    assert [line.strip() for line in kept].count(edge) == 1
    file.write_text("\n".join(f"{written} {JOB}" if line.strip() == edge else line for line in kept) + "\n")
    said = delete_jobs(relion_project, ["External/job001/"], recursive=True)
    assert any(sentence.startswith(JOB) for sentence in said)
    assert (relion_project / "Trash" / JOB).is_dir()
