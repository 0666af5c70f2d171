import pytest

from relion_jobs.contract.labels import Status
from relion_jobs.contract.nodes import Node
from relion_jobs.ondisk import nodes_directory
from relion_jobs.pipeline import graph
from relion_jobs.pipeline.graph import Pipeline, Process

INPUTS = Process("External/job001/", "External/inputs/", "relion.external", Status.SUCCEEDED)
JOB = Process("DynaMight/job002/", None, "dynamight", Status.RUNNING)
MAP = Node("External/job001/map.mrc", "DensityMap.mrc")
HALF = Node("DynaMight/job002/map_half1.mrc", "DensityMap.mrc.relion.halfmap.dynamight", 2)


@pytest.fixture
def pipeline(tmp_path):
    (tmp_path / "External" / "job001").mkdir(parents=True)
    (tmp_path / MAP.path).touch()
    made = graph.add_outputs(graph.add_process(Pipeline(), INPUTS), INPUTS.name, [MAP])
    return graph.add_outputs(graph.add_process(made, JOB, [MAP]), JOB.name, [HALF])


def entries(project):
    return sorted(str(path.relative_to(project / ".Nodes")) for path in (project / ".Nodes").rglob("*") if path.is_file())


def test_an_input_has_an_entry_under_its_alias_and_one_under_its_name(tmp_path, pipeline):
    nodes_directory.add_entries(tmp_path, pipeline, JOB.name)
    assert entries(tmp_path) == ["DensityMap/External/inputs/map.mrc", "DensityMap/External/job001/map.mrc"]


def test_an_output_that_is_not_there_is_reported_and_has_no_entry(tmp_path, pipeline):
    assert nodes_directory.add_entries(tmp_path, pipeline, JOB.name) == [HALF.path]


def test_a_scheduled_job_shows_its_outputs_before_they_exist_under_each_depth(tmp_path, pipeline):
    scheduled = graph.with_status(pipeline, JOB.name, Status.SCHEDULED)
    assert nodes_directory.add_entries(tmp_path, scheduled, JOB.name) == []
    assert [entry for entry in entries(tmp_path) if "half1" in entry] == [
        "DensityMap.mrc/DynaMight/job002/map_half1.mrc",
        "DensityMap/DynaMight/job002/map_half1.mrc",
    ]


def test_an_alias_takes_the_place_of_the_job_number(tmp_path, pipeline):
    named = graph.with_alias(graph.with_status(pipeline, JOB.name, Status.SCHEDULED), JOB.name, "my_run")
    nodes_directory.add_entries(tmp_path, named, JOB.name)
    assert "DensityMap/DynaMight/my_run/map_half1.mrc" in entries(tmp_path)


def test_entries_are_removed_with_the_directories_that_become_empty(tmp_path, pipeline):
    scheduled = graph.with_status(pipeline, JOB.name, Status.SCHEDULED)
    nodes_directory.add_entries(tmp_path, scheduled, JOB.name)
    nodes_directory.remove_entries(tmp_path, scheduled, JOB.name)
    assert not any("half1" in entry for entry in entries(tmp_path))
    assert not (tmp_path / ".Nodes" / "DensityMap" / "DynaMight").exists()


@pytest.mark.parametrize("node", [Node("External/job001/map.mrc", ""), Node("../out/map.mrc", "DensityMap.mrc")])
def test_a_node_without_label_or_outside_the_project_has_no_entry(tmp_path, pipeline, node):
    made = graph.add_outputs(graph.add_process(Pipeline(), JOB), JOB.name, [node])
    nodes_directory.add_entries(tmp_path, graph.with_status(made, JOB.name, Status.SCHEDULED), JOB.name)
    assert not (tmp_path / ".Nodes").exists()
