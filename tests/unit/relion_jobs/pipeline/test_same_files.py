"""A pipeline in which every file has one name."""

from dataclasses import replace

import pytest

from relion_jobs.contract.labels import Status
from relion_jobs.contract.nodes import Node
from relion_jobs.pipeline.deletion import dependents
from relion_jobs.pipeline.foreign import ForeignColumn
from relion_jobs.pipeline.graph import Pipeline, Process, add_outputs, add_process
from relion_jobs.pipeline.same_files import with_one_name

MAKER, USER = "Refine3D/job001/", "DynaMight/job002/"
NAME = f"{MAKER}run_data.star"


def two_jobs(written, *, made=NAME):
    pipeline = add_process(Pipeline(), Process(MAKER, None, "relion.refine3d", Status.SUCCEEDED))
    pipeline = add_outputs(pipeline, MAKER, [Node(made, "ParticleGroupMetadata.star.relion.refine3d")])
    return add_process(
        pipeline, Process(USER, None, "dynamight", Status.SCHEDULED), [Node(written, "ParticleGroupMetadata.star.relion")]
    )


@pytest.mark.parametrize(
    "written", [f"./{NAME}", "Refine3D//job001/run_data.star", "Refine3D/../Refine3D/job001/run_data.star", "link.star"]
)
def test_what_one_job_makes_and_another_reads_is_one_node(written):
    pipeline = with_one_name(two_jobs(written), {"link.star": NAME}.get)
    assert pipeline.nodes == (Node(NAME, "ParticleGroupMetadata.star.relion.refine3d"),)
    assert pipeline.input_edges == ((NAME, USER),)
    assert dependents(pipeline, [MAKER]) == (USER,)


def test_a_node_written_oddly_by_its_own_job_is_put_right():
    pipeline = with_one_name(two_jobs(NAME, made=f"./{NAME}"), str)
    assert pipeline.output_edges == ((MAKER, NAME),)
    assert dependents(pipeline, [MAKER]) == (USER,)


def test_files_of_no_job_get_the_name_that_the_disk_gives_them():
    assert with_one_name(two_jobs("/project/particles.star"), lambda path: path.removeprefix("/project/")).inputs_of(USER) == (
        Node("particles.star", "ParticleGroupMetadata.star.relion"),
    )


def test_a_file_in_a_job_directory_keeps_its_name_though_it_be_a_link():
    pipeline = two_jobs(f"{MAKER}run_it010_data.star")
    assert with_one_name(pipeline, lambda path: "elsewhere") is pipeline


def test_columns_of_others_follow_their_rows():
    edge = ForeignColumn("pipeline_input_edges", "myNote", (((f"./{NAME}", USER), "mine"),))
    pipeline = with_one_name(replace(two_jobs(f"./{NAME}"), foreign_columns=(edge,)), str)
    assert pipeline.foreign_columns[0].values == (((NAME, USER), "mine"),)
