"""Jobs are cut out of a pipeline and put back; the samples say what RELION left after a deletion."""

from dataclasses import replace
from pathlib import Path

from relion_jobs.contract.labels import Status
from relion_jobs.contract.nodes import Node
from relion_jobs.ondisk import pipeline_star
from relion_jobs.pipeline.deletion import cut, dependents, put_back
from relion_jobs.pipeline.foreign import ForeignColumn
from relion_jobs.pipeline.graph import Pipeline, Process, add_outputs, add_process

SNAPSHOTS = Path(__file__).parents[3] / "data" / "relion" / "snapshots"


def chain(*names: str) -> Pipeline:
    """Jobs of which each reads what the one before it made."""
    pipeline, inputs = Pipeline(), []
    for name in names:
        pipeline = add_process(pipeline, Process(name, None, "dynamight", Status.SUCCEEDED), inputs)
        inputs = [Node(f"{name}map.mrc", "DensityMap.mrc")]
        pipeline = add_outputs(pipeline, name, inputs)
    return pipeline


def test_what_is_cut_out_is_what_relion_wrote_into_deleted_pipeline_star(tmp_path):
    before = pipeline_star.read(SNAPSHOTS / "14_alias" / "default_pipeline.star")
    parts = cut(before, ["DynaMight/job004/"])
    pipeline_star.write(parts.kept, tmp_path / "kept.star")
    pipeline_star.write(parts.removed, tmp_path / "removed.star")
    after = SNAPSHOTS / "15_deleted"
    assert (tmp_path / "kept.star").read_bytes() == (after / "default_pipeline.star").read_bytes()
    deleted = after / "Trash" / "DynaMight" / "job004" / "deleted_pipeline.star"
    assert (tmp_path / "removed.star").read_bytes() == deleted.read_bytes()


def test_edges_of_jobs_that_stay_are_kept_in_the_removed_part():
    parts = cut(chain("A/job001/", "B/job002/"), ["A/job001/"])
    assert parts.kept.input_edges == ()
    assert parts.removed.input_edges == (("A/job001/map.mrc", "B/job002/"),)


def test_a_job_in_the_middle_comes_back_with_every_edge():
    before = chain("A/job001/", "B/job002/", "C/job003/")
    parts = cut(before, ["B/job002/"])
    after = put_back(parts.kept, parts.removed, ["B/job002/"])
    assert set(after.nodes) == set(before.nodes)
    assert set(after.input_edges) == set(before.input_edges)
    assert set(after.output_edges) == set(before.output_edges)
    assert [process.name for process in after.processes] == ["A/job001/", "C/job003/", "B/job002/"]


def test_one_job_of_several_comes_back_without_the_edges_of_the_others():
    before = chain("A/job001/", "B/job002/", "C/job003/")
    parts = cut(before, ["B/job002/", "C/job003/"])
    after = put_back(parts.kept, parts.removed, ["C/job003/"])
    assert after.input_edges == ()
    assert after.output_edges == (("A/job001/", "A/job001/map.mrc"), ("C/job003/", "C/job003/map.mrc"))


def test_dependents_are_found_through_others_and_in_order():
    pipeline = chain("A/job001/", "B/job002/", "C/job003/")
    assert dependents(pipeline, ["A/job001/"]) == ("B/job002/", "C/job003/")
    assert dependents(pipeline, ["C/job003/"]) == ()


def test_an_alias_that_was_taken_meanwhile_is_dropped_and_the_counter_stays_above_the_numbers():
    mine = replace(Process("A/job007/", "A/run/", "dynamight", Status.FAILED))
    taken = Pipeline(2, (Process("A/job001/", "A/run/", "dynamight", Status.FAILED),))
    after = put_back(taken, Pipeline(3, (mine,)), ["A/job007/"])
    assert [process.alias for process in after.processes] == ["A/run/", None]
    assert after.counter == 8


def test_columns_of_others_come_back_with_their_rows():
    column = ForeignColumn("pipeline_processes", "rlnColour", (("A/job001/", "red"), ("B/job002/", "blue")))
    parts = cut(replace(chain("A/job001/", "B/job002/"), foreign_columns=(column,)), ["B/job002/"])
    only_left = replace(column, values=(("A/job001/", "green"),))
    after = put_back(replace(parts.kept, foreign_columns=(only_left,)), parts.removed, ["B/job002/"])
    assert dict(after.foreign_columns[0].values) == {"A/job001/": "green", "B/job002/": "blue"}


def test_a_job_that_reads_a_file_of_another_which_is_no_output_node_depends_on_it_and_loses_it():
    pipeline = chain("A/job001/")
    pipeline = add_process(pipeline, Process("B/job002/", None, "x", Status.SUCCEEDED), [Node("A/job001/it010.star", "")])
    assert dependents(pipeline, ["A/job001/"]) == ("B/job002/",)
    parts = cut(pipeline, ["A/job001/"])
    assert (parts.kept.input_edges, parts.kept.nodes) == ((), ())
    assert set(put_back(parts.kept, parts.removed, ["A/job001/"]).input_edges) == set(pipeline.input_edges)
