from dataclasses import replace

import pytest

from relion_jobs.contract.errors import BadStarFile
from relion_jobs.contract.labels import Status
from relion_jobs.contract.nodes import Node
from relion_jobs.ondisk import pipeline_star
from relion_jobs.pipeline import graph
from relion_jobs.pipeline.graph import Pipeline, Process

GENERAL = "# version {version}\n\ndata_pipeline_general\n\n_rlnPipeLineJobCounter 3\n\n"
PROCESSES = (
    "data_pipeline_processes\nloop_\n_rlnPipeLineProcessName #1\n_rlnPipeLineProcessAlias #2\n"
    "_rlnPipeLineProcessTypeLabel #3\n_rlnPipeLineProcessStatusLabel #4\n"
)
OLD_PROCESSES = PROCESSES.replace("TypeLabel", "Type").replace("StatusLabel", "Status")
NODES = "data_pipeline_nodes\nloop_\n_rlnPipeLineNodeName #1\n_rlnPipeLineNodeTypeLabel #2\n"


def read(tmp_path, text, version=50001):
    path = tmp_path / "default_pipeline.star"
    path.write_text(GENERAL.format(version=version) + text)
    return pipeline_star.read(path)


def test_a_fresh_pipeline_is_the_90_bytes_that_relion_writes(tmp_path):
    pipeline_star.write(Pipeline(), tmp_path / "default_pipeline.star")
    content = (tmp_path / "default_pipeline.star").read_bytes()
    assert content == b"\n# version 50001\n\ndata_pipeline_general\n\n_rlnPipeLineJobCounter" + b" " * 23 + b"1\n \n"
    assert len(content) == 90


def test_missing_tables_are_empty(tmp_path):
    assert read(tmp_path, "") == Pipeline(counter=3)


def test_the_numbers_of_relion_3_become_words(tmp_path):
    rows = "Import/job001/ None 0 2\nRefine3D/job002/ Refine3D/a/ 10 3\nDynaMight/job003/ None 22 1\nExternal/job004/ None 99 0\n"
    pipeline = read(tmp_path, OLD_PROCESSES + rows, version=30001)
    assert [(p.label, p.status.value) for p in pipeline.processes] == [
        ("relion.import", "Succeeded"),
        ("relion.refine3d", "Failed"),
        ("dynamight", "Scheduled"),
        ("relion.external", "Running"),
    ]
    assert pipeline.processes[1].alias == "Refine3D/a/"


def test_a_node_type_number_of_relion_3_becomes_an_empty_label(tmp_path):
    text = NODES.replace("TypeLabel", "Type") + "Import/job001/particles.star 3\n"
    assert read(tmp_path, text, version=30001).nodes == (Node("Import/job001/particles.star", "", 1),)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("ParticlesData.star.relion", "ParticleGroupMetadata.star.relion"),
        ("MicrographsCoords.star", "MicrographCoordsGroup.star"),
        ("OptimisationSet.star", "TomoOptimisationSet.star"),
        ("TomoOptimisationSet.star", "TomoOptimisationSet.star"),
        ("DensityMap.mrc.relion.refine3d", "DensityMap.mrc.relion.refine3d"),
    ],
)
def test_node_labels_of_relion_4_are_translated(tmp_path, old, new):
    assert read(tmp_path, f"{NODES}a/b.star {old}\n", version=40001).nodes == (Node("a/b.star", new),)


def test_node_labels_of_relion_5_are_not_translated(tmp_path):
    assert read(tmp_path, f"{NODES}a/b.star ParticlesData.x\n").nodes[0].label == "ParticlesData.x"


def test_columns_may_stand_in_any_order_and_tables_too(tmp_path):
    text = (
        "data_pipeline_input_edges\nloop_\n_rlnPipeLineEdgeProcess\n_rlnPipeLineEdgeFromNode\nX/job001/ a.mrc\n\n"
        "data_pipeline_processes\nloop_\n_rlnPipeLineProcessStatusLabel\n_rlnPipeLineProcessTypeLabel\n"
        "_rlnPipeLineProcessAlias\n_rlnPipeLineProcessName\nAborted relion.external None X/job001/\n"
    )
    pipeline = read(tmp_path, text)
    assert pipeline.processes == (Process("X/job001/", None, "relion.external", Status.ABORTED),)
    assert pipeline.input_edges == (("a.mrc", "X/job001/"),)


def test_an_unknown_status_is_refused_with_its_line(tmp_path):
    with pytest.raises(BadStarFile, match=r"line 14: the status is 'Finished'.*Running, Scheduled"):
        read(tmp_path, PROCESSES + "X/job001/ None relion.external Succeeded\nX/job002/ None relion.external Finished\n")


@pytest.mark.parametrize("status", ["5", "-1", "Running"])
def test_an_unknown_status_number_is_refused(tmp_path, status):
    with pytest.raises(BadStarFile, match="line 13"):
        read(tmp_path, OLD_PROCESSES + f"X/job001/ None 99 {status}\n")


def test_a_pipeline_without_counter_is_damaged(tmp_path):
    (tmp_path / "p.star").write_text("data_other\n_a 1\n")
    with pytest.raises(BadStarFile, match="has no table data_pipeline_general"):
        pipeline_star.read(tmp_path / "p.star")


def test_a_counter_that_is_no_number_is_refused(tmp_path):
    (tmp_path / "p.star").write_text("data_pipeline_general\n_rlnPipeLineJobCounter many\n")
    with pytest.raises(BadStarFile, match=r"line 2: _rlnPipeLineJobCounter is 'many'"):
        pipeline_star.read(tmp_path / "p.star")


def test_tables_and_columns_that_we_do_not_know_survive_a_change(tmp_path):
    text = (
        PROCESSES.rstrip("\n") + '\n_ccpemRemark #5\nX/job001/ None relion.external Running "by hand"\n\n'
        "data_ccpem_things\n\nloop_\n_ccpemThing #1\n_ccpemNumber #2\nfirst 007\n\n"
    )
    before = read(tmp_path, text)
    job = Process("X/job003/", None, "relion.external", Status.SCHEDULED)
    after = graph.with_status(graph.add_process(before, job), "X/job001/", Status.FAILED)
    path = tmp_path / "default_pipeline.star"
    pipeline_star.write(after, path)
    content = path.read_text()
    assert 'X/job001/       None relion.external     Failed  "by hand" \n' in content
    assert "     first        007 \n" in content
    again = pipeline_star.read(path)
    assert replace(again, foreign_columns=()) == replace(after, foreign_columns=())
    assert again.foreign_columns[0].values == (("X/job001/", "by hand"), ("X/job003/", "None"))


def test_a_process_label_that_we_do_not_know_is_kept(tmp_path):
    assert read(tmp_path, PROCESSES + "X/job001/ None dynamight.foo Running\n").processes[0].label == "dynamight.foo"


def test_rows_of_one_name_in_a_damaged_file_keep_what_others_wrote_in_each(tmp_path):
    columns = ("ProcessName", "ProcessTypeLabel", "ProcessStatusLabel", "ProcessColour")
    header = "".join(f"_rlnPipeLine{column} #1\n" for column in columns)
    rows = "None relion.import Succeeded red\nNone relion.import Succeeded blue\n"
    path = tmp_path / "default_pipeline.star"
    path.write_text(f"data_pipeline_general\n\n_rlnPipeLineJobCounter 3\n\ndata_pipeline_processes\n\nloop_\n{header}{rows}\n")
    pipeline = pipeline_star.read(path)
    pipeline_star.write(pipeline, path)
    assert pipeline_star.read(path) == pipeline
    assert [text for _, text in pipeline.foreign_columns[0].values] == ["red", "blue"]
