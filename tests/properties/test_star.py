"""Whatever a STAR file may hold comes back from a file as it went in."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relion_jobs.contract.errors import BadStarFile
from relion_jobs.contract.labels import Status
from relion_jobs.contract.nodes import Node
from relion_jobs.ondisk import job_star, pipeline_star, star
from relion_jobs.ondisk.job_star import JobRequest
from relion_jobs.ondisk.star import Table, format_tables, parse
from relion_jobs.pipeline import graph
from relion_jobs.pipeline.graph import Pipeline, Process

# any text without line breaks and control characters, and often the characters that matter
SPECIAL = st.text(st.sampled_from(list("\"'# \t_$\\ab")), max_size=8)
ANY = st.text(st.characters(exclude_categories=("Cc", "Cs"), exclude_characters="\x7f"), max_size=12)
VALUES = st.one_of(SPECIAL, ANY, st.sampled_from(["data_x", "loop_", "_a", "# version 1", "None", '""', "''"]))
LABELS = st.from_regex(r"rln[A-Z][A-Za-z]{0,20}", fullmatch=True)
NAMES = st.from_regex(r"[a-z][a-z_]{0,12}", fullmatch=True)


@st.composite
def tables(draw):
    columns = draw(st.lists(LABELS, min_size=1, max_size=4, unique=True))
    is_loop = draw(st.booleans())
    row = st.tuples(*[VALUES] * len(columns))
    rows = draw(st.lists(row, min_size=1, max_size=5 if is_loop else 1))
    return Table(draw(NAMES), tuple(columns), tuple(rows), is_loop)


@settings(max_examples=300, deadline=None)
@given(st.lists(tables(), max_size=3, unique_by=lambda table: table.name))
def test_tables_come_back_as_they_were_written(written):
    text = format_tables(written)
    assert list(parse(text, "f").values()) == written
    assert format_tables(parse(text, "f").values()) == text


@settings(max_examples=300, deadline=None)
@given(st.text(st.sampled_from(list("data_ loop_x#1\n\t\"'\r\a _rln")), max_size=60))
def test_any_text_is_read_or_refused_with_its_line(text):
    assert refusal(text) is None or refusal(text).startswith("f.star, line ")


def refusal(text):
    try:
        parse(text, "f.star")
    except BadStarFile as error:
        return str(error)


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.from_regex(r"[a-z_0-9]{1,20}", fullmatch=True), VALUES, max_size=8), st.booleans(), st.booleans())
def test_a_job_request_comes_back(tmp_path_factory, values, is_continue, is_tomo):
    path = tmp_path_factory.mktemp("job") / "job.star"
    request = JobRequest("dynamight", is_continue, is_tomo, values)
    job_star.write(request, path)
    assert job_star.read(path) == request


@st.composite
def pipelines(draw):
    pipeline = Pipeline()
    for _ in range(draw(st.integers(0, 5))):
        name = pipeline.next_job_directory(draw(st.sampled_from(["DynaMight", "External", "Refine3D"])))
        label = draw(st.sampled_from(["dynamight", "relion.external.toy", "relion.refine3d", "something.new"]))
        inputs = draw(st.lists(st.sampled_from([*pipeline.nodes, Node("Data/map.mrc", "DensityMap.mrc")]), max_size=3))
        pipeline = graph.add_process(pipeline, Process(name, None, label, draw(st.sampled_from(Status))), inputs)
        outputs = draw(st.lists(st.sampled_from("abc"), max_size=3))
        nodes = [Node(name + letter, "DensityMap.mrc", draw(st.integers(1, 3))) for letter in outputs]
        pipeline = graph.add_outputs(pipeline, draw(st.sampled_from(pipeline.processes)).name, nodes)
        if draw(st.booleans()):
            pipeline = graph.with_alias(pipeline, name, f"run_{pipeline.counter}")
    return pipeline


@settings(max_examples=150, deadline=None)
@given(pipelines())
def test_a_pipeline_comes_back(tmp_path_factory, pipeline):
    path = tmp_path_factory.mktemp("pipeline") / "default_pipeline.star"
    pipeline_star.write(pipeline, path)
    assert pipeline_star.read(path) == pipeline


@settings(max_examples=100, deadline=None)
@given(pipelines(), st.data())
def test_deleting_a_job_leaves_no_edge_to_what_is_gone_and_keeps_the_counter(pipeline, data):
    if not pipeline.processes:
        return
    gone = data.draw(st.sampled_from(pipeline.processes)).name
    left = graph.without_processes(pipeline, gone)
    jobs, paths = {process.name for process in left.processes}, {node.path for node in left.nodes}
    assert {job for _, job in left.input_edges} | {job for job, _ in left.output_edges} <= jobs
    assert {path for path, _ in left.input_edges} | {path for _, path in left.output_edges} <= paths
    assert left.counter == pipeline.counter


@pytest.mark.parametrize("blanks", [" ", "\t", "   ", " \t "])
def test_the_blanks_between_values_do_not_matter(blanks):
    text = format_tables([Table("x", ("a", "b", "c"), (("1", "two words", ""),))])
    loose = text.replace("         1 ", f"{blanks}1{blanks}").replace('         "" ', f'{blanks}""{blanks}')
    assert star.parse(loose, "f")["x"].rows == (("1", "two words", ""),)
