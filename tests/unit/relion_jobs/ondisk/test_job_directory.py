import errno
import os
from datetime import datetime
from pathlib import Path

import pytest

from relion_jobs.contract import labels
from relion_jobs.contract.errors import UserError
from relion_jobs.contract.labels import Status
from relion_jobs.contract.nodes import Node
from relion_jobs.ondisk import job_directory
from relion_jobs.ondisk.job_directory import JobDirectory
from relion_jobs.ondisk.project import create

SAMPLE = (
    Path(__file__).parents[3] / "data" / "relion" / "snapshots" / "07_continue_reconstruct" / "DynaMight" / "job002" / "note.txt"
)
NODE = Node("DynaMight/job002/mean.mrc", "DensityMap.mrc.relion.dynamight", 2)


@pytest.fixture
def job(tmp_path):
    job = JobDirectory(create(tmp_path), "DynaMight/job002/")
    job.create()
    return job


def at(job, name, seconds):
    """Make a file of a job that was written so many seconds after the others."""
    (job.path / name).touch()
    os.utime(job.path / name, (1_700_000_000 + seconds,) * 2)


@pytest.mark.parametrize(("mark", "status"), labels.STATUS_OF_CCPEM_MARK.items())
def test_the_ccpem_pipeliners_mark_counts_if_it_belongs_to_the_last_launch(job, mark, status):
    at(job, labels.JOB_STAR, 0)
    at(job, mark, 5)
    assert job.status_from_marks() == status
    at(job, labels.JOB_STAR, 10)
    assert job.status_from_marks() is None
    job.write_mark(labels.EXIT_SUCCESS)
    assert job.status_from_marks() == Status.SUCCEEDED
    job.clear_marks()
    assert sorted(path.name for path in job.path.iterdir()) == [labels.JOB_STAR]


def test_whoever_launched_a_job_last_is_asked_to_stop_it(job):
    at(job, labels.CCPEM_JOB_INFO, 1)
    at(job, labels.JOB_STAR, 0)
    job.request_abort()
    assert (job.path / labels.CCPEM_ABORT_NOW).exists()
    assert job.marks() == ()
    assert job.abort_requested()
    job.clear_marks()
    at(job, labels.JOB_STAR, 2)
    job.request_abort()
    assert job.marks() == (labels.ABORT_NOW,)
    assert not (job.path / labels.CCPEM_ABORT_NOW).exists()


def test_a_new_directory_must_be_empty(job):
    job.create(new=True)
    job.run_out.write_text("old results")
    with pytest.raises(UserError, match="a job that the pipeline does not list"):
        job.create(new=True)
    assert job.create() == job.path


@pytest.mark.parametrize("name", ["../job002/", "/tmp/job002/", "Dyna Might/job002/", "None/job002/", "a;b/job001/"])
def test_a_name_that_leads_out_or_that_relion_trips_over_is_refused(tmp_path, name):
    with pytest.raises(UserError):
        JobDirectory(tmp_path, name).create()


def test_a_job_without_marks_has_no_status(job):
    assert job.marks() == ()
    assert job.status_from_marks() is None


@pytest.mark.parametrize(
    ("mark", "status"),
    [(labels.EXIT_SUCCESS, Status.SUCCEEDED), (labels.EXIT_FAILURE, Status.FAILED), (labels.EXIT_ABORTED, Status.ABORTED)],
)
def test_an_exit_mark_is_an_empty_file_and_takes_the_place_of_the_others(job, mark, status):
    for name in labels.EXIT_MARKS:
        job.write_mark(name)
    job.write_mark(mark)
    assert job.marks() == (mark,)
    assert (job.path / mark).read_bytes() == b""
    assert job.status_from_marks() is status


def test_success_is_preferred_as_in_relion(job):
    for name in labels.EXIT_MARKS:
        (job.path / name).touch()
    assert job.status_from_marks() is Status.SUCCEEDED


def test_an_abort_request_is_no_end(job):
    job.request_abort()
    assert job.abort_requested()
    assert job.status_from_marks() is None
    job.write_mark(labels.EXIT_ABORTED)
    assert job.abort_requested(), "RELION leaves the request there until the next launch"


def test_all_marks_are_cleared_before_a_launch(job):
    for name in labels.JOB_MARKS:
        (job.path / name).touch()
    job.clear_marks()
    assert not any(job.path.iterdir())


def test_a_mark_that_relion_does_not_know_is_a_mistake_of_ours(job):
    with pytest.raises(ValueError, match="no mark"):
        job.write_mark("RELION_JOB_EXIT_MAYBE")


def test_the_note_is_the_one_that_relion_writes(job):
    lines = SAMPLE.read_text().split("\n")
    commands = [lines[index + 1] for index, line in enumerate(lines) if "following command" in line]
    for command, second in zip(commands, ["06:27:25", "06:28:12", "06:28:16", "06:28:19"], strict=True):
        job.append_note(command, datetime.fromisoformat(f"2026-11-22T{second}"))
    assert (job.path / "note.txt").read_bytes() == SAMPLE.read_bytes()


def test_the_day_of_the_note_is_padded_with_a_blank(job):
    job.append_note("x", datetime(2026, 11, 1, 6, 7, 8))
    assert "Sun Nov  1 06:07:08 2026" in (job.path / "note.txt").read_text()


def test_the_pipeline_is_copied_as_it_is(job):
    job.copy_pipeline()
    assert (job.path / "default_pipeline.star").read_bytes() == (job.project / "default_pipeline.star").read_bytes()


def test_output_nodes_come_back_and_stand_once(job):
    assert job.read_output_nodes() == []
    job.add_output_node(NODE)
    job.add_output_node(Node("DynaMight/job002/a.star", "ParticleGroupMetadata.star.relion.dynamight"))
    job.add_output_node(NODE)
    assert [node.path for node in job.read_output_nodes()] == ["DynaMight/job002/mean.mrc", "DynaMight/job002/a.star"]
    assert job.read_output_nodes()[0] == NODE


def test_the_last_label_of_an_output_node_counts(job):
    job.add_output_node(NODE)
    job.add_output_node(Node(NODE.path, "Mask3D.mrc"))
    assert job.read_output_nodes() == [Node(NODE.path, "Mask3D.mrc")]


def test_output_nodes_written_by_hand_are_read(job):
    source = SAMPLE.parents[3] / "14_alias" / "DynaMight" / "job010" / "RELION_OUTPUT_NODES.star"
    (job.path / "RELION_OUTPUT_NODES.star").write_bytes(source.read_bytes())
    assert [(node.path[17:], node.depth) for node in job.read_output_nodes()] == [
        ("inverse_deformations/inv_chkpt.pth", 1),
        ("consensus.mrc", 2),
    ]


@pytest.mark.parametrize("path", ["/tmp/map.mrc", "../map.mrc", "DynaMight/job002/myNone.mrc", "DynaMight/job002/my map.mrc"])
def test_an_output_node_that_relion_would_mangle_is_refused(job, path):
    with pytest.raises(UserError):
        job.add_output_node(Node(path, "DensityMap.mrc"))


def test_an_alias_is_the_link_that_relion_makes(job):
    job.link_alias("DynaMight/my_run/")
    link = job.project / "DynaMight" / "my_run"
    assert link.readlink() == Path("../DynaMight/job002/")
    assert link.resolve() == job.path.resolve()
    job.unlink_alias("DynaMight/my_run/")
    assert not link.is_symlink()


def test_a_stale_link_of_a_removed_alias_is_replaced_but_never_a_directory(job):
    (job.project / "DynaMight" / "old").symlink_to("../DynaMight/job000/")
    job.link_alias("DynaMight/old/")
    assert (job.project / "DynaMight" / "old").resolve() == job.path.resolve()
    (job.project / "DynaMight" / "real").mkdir()
    with pytest.raises(UserError, match="is no alias"):
        job.link_alias("DynaMight/real/")
    job.unlink_alias("DynaMight/real/")
    assert (job.project / "DynaMight" / "real").is_dir()


def test_a_full_disk_is_told_in_words(job, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "")

    monkeypatch.setattr(job_directory.Path, "touch", full)
    with pytest.raises(UserError, match=r"Cannot write .*RELION_JOB_EXIT_SUCCESS: the disk is full"):
        job.write_mark(labels.EXIT_SUCCESS)
