"""Every control file that RELION 5 wrote comes back byte for byte; every one written by hand is read."""

from pathlib import Path

import pytest

from relion_jobs.contract.labels import Status
from relion_jobs.ondisk import job_star, pipeline_star, star
from relion_jobs.ondisk.gui_settings import gui_settings_path
from relion_jobs.ondisk.job_directory import JobDirectory
from relion_jobs.ondisk.project import locate, read_pipeline
from relion_jobs.pipeline.graph import Pipeline, Process, add_process, job_pipeline, without_processes

SAMPLES = Path(__file__).parents[1] / "data" / "relion"
SNAPSHOTS = sorted((SAMPLES / "snapshots").iterdir())


def written_by_relion(pattern):
    return [path for path in sorted(SAMPLES.rglob(pattern)) if path.parent != SAMPLES / "inputs"]


PIPELINES = written_by_relion("*_pipeline.star")
JOBS = written_by_relion("job.star") + written_by_relion(".gui_*job.star")


def name(path):
    return str(path.relative_to(SAMPLES)).removeprefix("snapshots/")


def test_no_sample_was_lost():
    assert (len(PIPELINES), len(JOBS), len(SNAPSHOTS)) == (112, 74, 9)


@pytest.mark.parametrize("path", PIPELINES, ids=name)
def test_a_pipeline_comes_back_byte_for_byte(path, tmp_path):
    pipeline_star.write(pipeline_star.read(path), tmp_path / "again.star")
    assert (tmp_path / "again.star").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("path", JOBS, ids=name)
def test_a_job_star_comes_back_byte_for_byte(path, tmp_path):
    job_star.write(job_star.read(path), tmp_path / "again.star")
    assert (tmp_path / "again.star").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("path", sorted((SAMPLES / "inputs").glob("*.job.star")), ids=name)
def test_a_job_star_written_by_hand_is_read(path):
    request = job_star.read(path)
    assert not request.is_continue
    assert all(request.values.values())


@pytest.mark.parametrize("path", written_by_relion("RELION_OUTPUT_NODES.star"), ids=name)
def test_output_nodes_written_by_hand_are_read(path):
    job = JobDirectory(path.parents[2], "/".join(path.parent.parts[-2:]))
    assert [node.path.startswith(job.name) for node in job.read_output_nodes()] == [True, True]


@pytest.mark.parametrize("path", written_by_relion("scheme.star*"), ids=name)
def test_the_text_of_a_scheme_comes_back(path, tmp_path):
    # numbers are read as text, so only their blanks may differ
    tables = star.read_tables(path)
    star.write_tables(tables.values(), tmp_path / "again.star")
    assert (tmp_path / "again.star").read_text().split() == path.read_text().split()


@pytest.mark.parametrize("snapshot", SNAPSHOTS, ids=lambda path: path.name)
def test_a_snapshot_is_found_from_its_job_directories(snapshot):
    jobs = [path.parent for path in snapshot.rglob("job_pipeline.star")]
    assert all(locate(job) == snapshot for job in jobs)


def test_the_statuses_after_the_failing_jobs_are_those_that_were_seen():
    pipeline = read_pipeline(SAMPLES / "snapshots" / "08_fail_abort_crash_plain")
    found = {process.name: process.status for process in pipeline.processes}
    assert found["DynaMight/job004/"] is Status.FAILED
    assert found["DynaMight/job005/"] is Status.ABORTED
    # a program that died without a mark stays Running for ever
    assert found["DynaMight/job006/"] is Status.RUNNING


def test_the_job_that_was_deleted_can_be_taken_out_by_us_with_the_same_result():
    before = read_pipeline(SAMPLES / "snapshots" / "14_alias")
    after = read_pipeline(SAMPLES / "snapshots" / "15_deleted")
    assert without_processes(before, "DynaMight/job004/") == after


def test_a_launch_of_ours_has_the_job_pipeline_that_relion_writes(tmp_path):
    root = SAMPLES / "snapshots" / "04_dynamight_new_done"
    pipeline = read_pipeline(SAMPLES / "snapshots" / "03_dynamight_scheduled")
    process = pipeline.process("DynaMight/job002/")
    running = job_pipeline(Process(process.name, "X/alias/", process.label, Status.RUNNING), pipeline.inputs_of(process.name))
    pipeline_star.write(running, tmp_path / "job_pipeline.star")
    assert (tmp_path / "job_pipeline.star").read_bytes() == (root / process.name / "job_pipeline.star").read_bytes()


def test_scheduling_a_job_ourselves_gives_the_pipeline_that_relion_wrote(tmp_path):
    after = read_pipeline(SAMPLES / "snapshots" / "03_dynamight_scheduled")
    process = after.process("DynaMight/job002/")
    before = Pipeline(2, after.processes[:1], after.nodes, (), after.output_edges)
    assert before.next_job_directory("DynaMight") == process.name
    assert without_processes(after, process.name).processes == before.processes
    pipeline_star.write(add_process(before, process, after.inputs_of(process.name)), tmp_path / "p.star")
    assert (tmp_path / "p.star").read_bytes() == (
        SAMPLES / "snapshots" / "03_dynamight_scheduled" / "default_pipeline.star"
    ).read_bytes()


def test_gui_settings_have_the_names_that_relion_gave_them():
    root = SAMPLES / "snapshots" / "07_continue_reconstruct"
    for label in ("dynamight", "relion.external"):
        assert job_star.read(gui_settings_path(root, label)).label == label
