"""Each thing that can be wrong with a project is found, mended on request, and found no more."""

import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from relion_jobs.contract.errors import LockTimeout
from relion_jobs.contract.labels import Status
from relion_jobs.ondisk.owner import Owner
from relion_jobs.ondisk.project import edit_pipeline, read_pipeline
from relion_jobs.pipeline.graph import with_status
from relion_jobs.upkeep.verify import verify

JOB = "DynaMight/job004/"


def change(project, **columns):
    with edit_pipeline(project, "test") as edit:
        edit.pipeline = replace(edit.pipeline, **columns)


def set_status(project, name, status):
    with edit_pipeline(project, "test") as edit:
        edit.pipeline = with_status(edit.pipeline, name, status)


def dead_owner() -> Owner:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return replace(Owner.this_process(), pid=process.pid)


def lose_directory(project):
    shutil.rmtree(project / JOB)


def lose_into_trash(project):
    (project / "Trash" / "DynaMight").mkdir(parents=True)
    (project / JOB).rename(project / "Trash" / JOB)


def cut_deletion_short(project):
    from relion_jobs.ondisk import pipeline_star
    from relion_jobs.pipeline.deletion import cut

    with edit_pipeline(project, "test") as edit:
        parts = cut(edit.pipeline, [JOB])
        pipeline_star.write(parts.removed, project / JOB / "deleted_pipeline.star")
        edit.pipeline = parts.kept


def lose_row(project):
    cut_deletion_short(project)
    (project / JOB / "deleted_pipeline.star").unlink()


def lose_link(project):
    (project / "DynaMight" / "my_relion_dm_fail").unlink()


def point_link_elsewhere(project):
    lose_link(project)
    (project / "DynaMight" / "my_relion_dm_fail").symlink_to("../DynaMight/job005/")


def leave_old_link(project):
    (project / "DynaMight" / "old_name").symlink_to("../DynaMight/job004/")


def lower_counter(project):
    change(project, counter=4)


def add_edge_to_nowhere(project):
    change(project, input_edges=(*read_pipeline(project).input_edges, ("nowhere.mrc", JOB)))


def trash_output(project):
    (project / "Trash" / "DynaMight" / "job010").mkdir(parents=True)
    os.rename(project / "DynaMight/job010/consensus.mrc", project / "Trash/DynaMight/job010/consensus.mrc")


def leave_mark_unread(project):
    set_status(project, JOB, Status.RUNNING)
    (project / JOB / "RELION_JOB_EXIT_ABORTED").touch()


def die_silently(project):
    set_status(project, JOB, Status.RUNNING)
    (project / JOB / ".relion_jobs_run.owner").write_text(f"{dead_owner()}\n")


def leave_owner(project):
    (project / JOB / ".relion_jobs_run.owner").write_text(f"{dead_owner()}\n")


def make_empty_directory(project):
    (project / "DynaMight" / "job099").mkdir()


def lock_and_die(project):
    (project / ".relion_lock").mkdir()
    (project / ".relion_lock" / "lock_default_pipeline.star").write_text(f"relion_jobs: test ({dead_owner()})\n")


def lock_as_a_relion_that_crashed(project):
    (project / ".relion_lock").mkdir()
    file = project / ".relion_lock" / "lock_default_pipeline.star"
    file.write_text("runJob: DynaMight/job002/\n")
    os.utime(file, (time.time() - 3600, time.time() - 3600))


def damage_pipeline(project):
    (project / "default_pipeline.star").write_text("data_pipeline_general\n\nloop_\n_rlnX #1\n1 2 3\n")


def name_a_file_in_a_folder_of_a_node(project):
    """RELION's schemer adds such a row for ``Schemes/flex/dynamight/backprojection/map_half1.mrc`` in an option."""
    scheme = project / "Schemes/flex/scheme.star"
    row = "    inputs External/job009/        new            1 \n"
    assert row in scheme.read_text()
    scheme.write_text(scheme.read_text().replace(row, 'dynamight/backprojection         ""         ""            1 \n' + row))


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lose_directory, "has no directory"),
        (lose_into_trash, "its directory is in the Trash"),
        (cut_deletion_short, "did not get into the Trash"),
        (lose_row, "that the pipeline does not list"),
        (lose_link, "has no link"),
        (point_link_elsewhere, "has no link"),
        (leave_old_link, "which has no such alias"),
        (lower_counter, "job counter is 4"),
        (add_edge_to_nowhere, "leads to nowhere.mrc"),
        (trash_output, "it is in the Trash"),
        (leave_mark_unread, "its mark says Aborted"),
        (die_silently, "is gone and left no mark"),
        (leave_owner, "which is not running any more"),
        (make_empty_directory, "is empty"),
        (lock_and_die, "which is not running any more"),
        (lock_as_a_relion_that_crashed, "far longer than RELION"),
        (name_a_file_in_a_folder_of_a_node, "lists the job dynamight/backprojection, which is none"),
        (damage_pipeline, "The newest copy that can be read"),
    ],
)
def test_harm_is_found_mended_and_gone(relion_project, harm, words):
    harm(relion_project)
    before = (relion_project / "default_pipeline.star").read_bytes()
    found = [finding for finding in verify(relion_project) if words in finding.sentence]
    assert len(found) == 1
    assert (relion_project / "default_pipeline.star").read_bytes() == before
    assert found[0].mend().endswith(".")
    assert not [finding for finding in verify(relion_project) if words in finding.sentence]
    assert read_pipeline(relion_project).processes


def test_of_a_job_that_died_silently_no_trace_is_left_to_mend(relion_project):
    die_silently(relion_project)
    for finding in verify(relion_project):
        finding.mend()
    assert verify(relion_project) == []


def test_a_project_of_relions_is_found_sound(relion_project):
    assert [finding.sentence for finding in verify(relion_project)] == []


def test_a_mended_scheme_is_what_it_was_before_relion_harmed_it(relion_project):
    before = (relion_project / "Schemes/flex/scheme.star").read_bytes()
    name_a_file_in_a_folder_of_a_node(relion_project)
    (finding,) = verify(relion_project)
    assert "name the file at the top of the job directory" in finding.mend()
    assert (relion_project / "Schemes/flex/scheme.star").read_bytes() == before


def test_a_scheme_that_runs_is_not_mended(relion_project):
    name_a_file_in_a_folder_of_a_node(relion_project)
    (relion_project / ".relion_lock_scheme_flex").mkdir()
    (relion_project / ".relion_lock_scheme_flex/lock_scheme").write_text("lock mechanism from Schemer\n")
    finding = next(finding for finding in verify(relion_project) if finding.is_wrong)
    with pytest.raises(LockTimeout, match="The scheme flex is locked"):
        finding.mend()


def test_a_scheme_that_cannot_be_read_is_told(relion_project):
    (relion_project / "Schemes/flex/scheme.star").write_text("garbage")
    (finding,) = verify(relion_project)
    assert "Schemes/flex/scheme.star" in finding.sentence
    assert "scheme.star.bck" in finding.remedy


def test_a_row_that_came_back_has_the_status_of_its_mark(relion_project):
    (relion_project / JOB / "RELION_JOB_EXIT_FAILURE").touch()
    lose_row(relion_project)
    next(finding for finding in verify(relion_project) if JOB in finding.sentence).mend()
    assert read_pipeline(relion_project).process(JOB).status is Status.FAILED


def test_a_live_lock_is_named_with_its_owner_and_not_removed(relion_project):
    (relion_project / ".relion_lock").mkdir()
    (relion_project / ".relion_lock" / "lock_default_pipeline.star").write_text(f"x ({Owner.this_process()})\n")
    (finding,) = verify(relion_project)
    assert f"process {os.getpid()}" in finding.sentence
    assert finding.mend is None
    assert not finding.is_wrong


def test_a_missing_output_that_is_nowhere_is_told_with_its_remedy(relion_project):
    (relion_project / "DynaMight/job010/consensus.mrc").unlink()
    (finding,) = verify(relion_project)
    assert finding.mend is None
    assert "mark DynaMight/job010/ finished" in finding.remedy


@pytest.mark.parametrize("name", ["../outside/", "/etc/", "DynaMight/"])
def test_a_row_that_leads_out_of_the_project_is_told_and_never_followed(relion_project, name):
    outside = relion_project.parent / "outside"
    outside.mkdir()
    (outside / "precious").touch()
    text = (relion_project / "default_pipeline.star").read_text()
    (relion_project / "default_pipeline.star").write_text(text.replace(JOB, name))
    found = verify(relion_project)
    assert any(f"'{name}' is no name of a job directory" in finding.sentence for finding in found)
    for finding in found:
        if finding.mend is not None:
            finding.mend()
    assert (outside / "precious").exists()
    assert (relion_project / JOB / "job.star").exists()
