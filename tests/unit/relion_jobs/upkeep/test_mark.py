"""Marking by hand, aliases and overwriting, in a project of RELION's."""

import os
import subprocess
import sys

import pytest

from relion_jobs.contract.errors import UserError
from relion_jobs.contract.labels import Status
from relion_jobs.ondisk.owner import Owner
from relion_jobs.ondisk.project import read_pipeline
from relion_jobs.running.registry import registry
from relion_jobs.upkeep.mark import mark_job
from relion_jobs.upkeep.overwrite import overwrite_job
from relion_jobs.upkeep.rename import set_alias

JOB = "DynaMight/job010/"


@pytest.mark.parametrize(
    ("word", "status"), [("finished", Status.SUCCEEDED), ("failed", Status.FAILED), ("aborted", Status.ABORTED)]
)
def test_a_mark_changes_the_status_and_nothing_else_where_all_outputs_are_there(relion_project, word, status):
    before = read_pipeline(relion_project)
    mark_job(relion_project, JOB, word)
    after = read_pipeline(relion_project)
    assert after.process(JOB).status is status
    assert (after.nodes, after.output_edges, after.counter) == (before.nodes, before.output_edges, before.counter)


def test_the_name_of_a_dead_process_goes_with_the_mark(relion_project):
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    owner = relion_project / JOB / ".relion_jobs_run.owner"
    owner.write_text(f"{Owner(child.pid, Owner.this_process().host, 0.0)}\n")
    mark_job(relion_project, JOB, "failed")
    assert not owner.exists()


def test_outputs_that_do_not_exist_are_dropped_and_listed_ones_are_added(relion_project):
    (relion_project / JOB / "consensus.mrc").unlink()
    listed = relion_project / JOB / "RELION_OUTPUT_NODES.star"
    listed.write_text(listed.read_text().rstrip() + "\nDynaMight/job010/new.mrc DensityMap.mrc 1\n")
    (relion_project / JOB / "new.mrc").touch()
    mark_job(relion_project, JOB, "finished")
    names = [node.path for node in read_pipeline(relion_project).outputs_of(JOB)]
    assert names == ["DynaMight/job010/inverse_deformations/inv_chkpt.pth", "DynaMight/job010/new.mrc"]
    assert (relion_project / ".Nodes" / "DensityMap" / JOB / "new.mrc").exists()
    assert not (relion_project / ".Nodes" / "DensityMap" / JOB / "consensus.mrc").exists()


def test_an_alias_moves_link_column_and_browse_entries(relion_project):
    set_alias(relion_project, "DynaMight/job002/", "new name")
    assert read_pipeline(relion_project).process("DynaMight/job002/").alias == "DynaMight/new_name/"
    assert os.readlink(relion_project / "DynaMight" / "new_name") == "../DynaMight/job002/"
    assert not os.path.lexists(relion_project / "DynaMight" / "flex_run")
    nodes = relion_project / ".Nodes" / "DensityMap" / "DynaMight"
    assert (nodes / "new_name" / "backprojection" / "map_half1.mrc").exists()
    assert not (nodes / "flex_run").exists()


def test_an_alias_that_is_taken_away_leaves_no_link(relion_project):
    set_alias(relion_project, "DynaMight/job002/", "")
    assert read_pipeline(relion_project).process("DynaMight/job002/").alias is None
    assert not os.path.lexists(relion_project / "DynaMight" / "flex_run")
    assert (relion_project / ".Nodes" / "DensityMap" / "DynaMight" / "job002" / "backprojection" / "map_half1.mrc").exists()


@pytest.mark.parametrize("alias", ["x", "job7", "a/b", "a$b", "my_relion_dm_fail", "None"])
def test_an_alias_that_relion_would_refuse_changes_nothing(relion_project, alias):
    before = (relion_project / "default_pipeline.star").read_bytes()
    with pytest.raises(UserError):
        set_alias(relion_project, "DynaMight/job002/", alias)
    assert (relion_project / "default_pipeline.star").read_bytes() == before
    assert os.path.lexists(relion_project / "DynaMight" / "flex_run")


def overwrite(project, name, **texts):
    job_type = registry(environment={}).find("dynamight")
    given = {"fn_star": "External/job001/particles.star", "fn_map": "External/job001/map.mrc"} | texts
    return overwrite_job(project, name, job_type, given)


def test_an_overwritten_job_keeps_number_alias_and_counter_and_its_old_self_is_in_the_trash(relion_project):
    before = read_pipeline(relion_project)
    told = overwrite(relion_project, "DynaMight/job002/", nr_gaussians="77")
    after = read_pipeline(relion_project)
    job = after.processes[-1]
    assert (job.name, job.alias, job.status) == ("DynaMight/job002/", "DynaMight/flex_run/", Status.SCHEDULED)
    assert after.counter == before.counter
    assert after.outputs_of(job.name) == ()
    assert "nr_gaussians         77" in (relion_project / job.name / "job.star").read_text()
    assert (relion_project / "Trash" / job.name / "backprojection" / "map_half1.mrc").exists()
    assert (relion_project / "DynaMight" / "flex_run").resolve() == (relion_project / job.name).resolve()
    assert told == []


def test_an_overwrite_with_a_missing_input_moves_nothing(relion_project):
    with pytest.raises(UserError, match=r"gone\.mrc"):
        overwrite(relion_project, "DynaMight/job002/", fn_map="gone.mrc")
    assert (relion_project / "DynaMight/job002/backprojection/map_half1.mrc").exists()


def test_an_overwrite_that_breaks_down_brings_the_old_job_back(relion_project, monkeypatch):
    before = (relion_project / "default_pipeline.star").read_bytes()

    def full(*words, **keywords):
        raise UserError("The disk is full.")

    monkeypatch.setattr("relion_jobs.running.launch.add_scheduled", full)
    with pytest.raises(UserError, match="full"):
        overwrite(relion_project, "DynaMight/job002/")
    assert (relion_project / "DynaMight/job002/backprojection/map_half1.mrc").exists()
    assert (relion_project / "default_pipeline.star").read_bytes() == before
