import pytest

from relion_jobs.contract.errors import UserError
from relion_jobs.contract.labels import Status
from relion_jobs.contract.nodes import DENSITY_MAP, PARTICLES, Node
from relion_jobs.pipeline import graph
from relion_jobs.pipeline.graph import Pipeline, Process

INPUTS = Process("External/job001/", "External/inputs/", "relion.external", Status.SUCCEEDED)
JOB = Process("DynaMight/job002/", None, "dynamight", Status.SCHEDULED)
STAR = Node("External/job001/particles.star", PARTICLES + ".relion")
MAP = Node("External/job001/map.mrc", DENSITY_MAP)
HALF = Node("DynaMight/job002/backprojection/map_half1.mrc", "DensityMap.mrc.relion.halfmap.dynamight")


@pytest.fixture
def pipeline():
    made = graph.add_outputs(graph.add_process(Pipeline(), INPUTS), INPUTS.name, [STAR, MAP])
    return graph.add_outputs(graph.add_process(made, JOB, [STAR, MAP]), JOB.name, [HALF])


def test_job_numbers_have_three_digits_and_grow_beyond_them():
    assert Pipeline(counter=3).next_job_directory("DynaMight") == "DynaMight/job003/"
    assert Pipeline(counter=1000).next_job_directory("DynaMight/") == "DynaMight/job1000/"


def test_only_a_new_name_raises_the_counter(pipeline):
    assert pipeline.counter == 3
    assert graph.add_process(pipeline, JOB, [STAR]).counter == 3


def test_a_job_is_found_by_name_and_by_alias_with_or_without_slash(pipeline):
    for text in ("External/job001/", "External/job001", "External/inputs/", "External/inputs"):
        assert pipeline.find(text) == INPUTS
    assert pipeline.find("External/job002") is None


def test_an_unknown_job_is_named_in_the_error(pipeline):
    with pytest.raises(UserError, match=r"no job DynaMight/job009/"):
        pipeline.process("DynaMight/job009")


def test_inputs_and_outputs_come_in_the_order_of_their_edges(pipeline):
    assert pipeline.inputs_of(JOB.name) == (STAR, MAP)
    assert pipeline.outputs_of(JOB.name) == (HALF,)


def test_a_known_file_keeps_its_more_specific_label(pipeline):
    other = Process("DynaMight/job003/", None, "dynamight", Status.SCHEDULED)
    added = graph.add_process(pipeline, other, [Node(HALF.path, DENSITY_MAP)])
    assert added.inputs_of(other.name) == (HALF,)


def test_an_alias_in_an_input_path_becomes_the_job_name(pipeline):
    other = Process("DynaMight/job003/", None, "dynamight", Status.SCHEDULED)
    added = graph.add_process(pipeline, other, [Node("External/inputs/map.mrc", DENSITY_MAP)])
    assert added.inputs_of(other.name) == (MAP,)


def test_the_alias_of_another_job_inside_a_name_is_left_alone(pipeline):
    # RELION replaces the text anywhere
    other = Process("DynaMight/job003/", None, "dynamight", Status.SCHEDULED)
    path = "Copies/External/inputs/map.mrc"
    assert graph.add_process(pipeline, other, [Node(path, DENSITY_MAP)]).inputs_of(other.name)[0].path == path


def test_an_output_added_twice_stands_once(pipeline):
    assert graph.add_outputs(pipeline, JOB.name, [HALF]) == pipeline


def test_edges_stay_grouped_by_the_order_of_processes(pipeline):
    more = graph.add_outputs(pipeline, INPUTS.name, [Node("External/job001/mask.mrc", "Mask3D.mrc")])
    assert [edge[0] for edge in more.output_edges] == [INPUTS.name] * 3 + [JOB.name]


def test_a_status_change_leaves_the_old_pipeline_alone(pipeline):
    changed = graph.with_status(pipeline, JOB.name, Status.RUNNING)
    assert changed.process(JOB.name).status is Status.RUNNING
    assert pipeline.process(JOB.name).status is Status.SCHEDULED


def test_an_alias_is_set_and_removed(pipeline):
    named = graph.with_alias(pipeline, JOB.name, "my run")
    assert named.find("DynaMight/my_run/") == named.process(JOB.name)
    assert graph.with_alias(named, JOB.name, None) == pipeline


def test_an_alias_of_another_job_is_refused(pipeline):
    other = Process("External/job003/", None, "relion.external", Status.SCHEDULED)
    with pytest.raises(UserError, match=r"belongs to External/job001/"):
        graph.with_alias(graph.add_process(pipeline, other), other.name, "inputs")


def test_a_deleted_job_takes_its_outputs_and_their_edges_along_but_not_its_number(pipeline):
    left = graph.without_processes(pipeline, INPUTS.name)
    assert left.processes == (JOB,)
    assert left.nodes == (HALF,)
    assert left.input_edges == ()
    assert left.counter == 3


def test_a_missing_output_can_be_taken_out(pipeline):
    left = graph.without_nodes(pipeline, HALF.path)
    assert left.outputs_of(JOB.name) == ()
    assert HALF not in left.nodes


def test_the_pipeline_of_one_launch_has_counter_two_and_no_alias():
    alone = graph.job_pipeline(INPUTS, [], [STAR])
    assert alone.counter == 2
    assert alone.processes[0].alias is None
    assert alone.output_edges == ((INPUTS.name, STAR.path),)


def test_a_file_without_an_edge_belongs_to_the_job_in_whose_directory_it_lies(pipeline):
    assert pipeline.producer_of("DynaMight/job002/forward_deformations/mean.mrc") == JOB
    assert pipeline.producer_of("Data/map.mrc") is None
