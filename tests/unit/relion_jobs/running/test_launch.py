"""A new job names its files as the pipeline does, however they were written."""

import pytest

from relion_jobs.contract.errors import UserError
from relion_jobs.contract.labels import Status
from relion_jobs.contract.nodes import Node
from relion_jobs.ondisk import job_star
from relion_jobs.ondisk.project import create, edit_pipeline, read_pipeline
from relion_jobs.pipeline.graph import Process, add_outputs, add_process
from relion_jobs.running.launch import new_job
from relion_jobs.running.registry import registry
from relion_jobs.running.settings import new_texts

DYNAMIGHT = registry(environment={}).find("dynamight")
MAKER = "Refine3D/job001/"
STAR, MAP = f"{MAKER}run_data.star", f"{MAKER}run_class001.mrc"
WAYS = ["{}", "./{}", "{project}/{}", "other/../{}", "shortcut/{}", ".//{}"]


@pytest.fixture
def project(tmp_path):
    """A project in which a scheduled refinement is going to write particles and a map."""
    project = create(tmp_path / "project")
    (project / MAKER).mkdir(parents=True)
    (project / "other").mkdir()
    (project / "shortcut").symlink_to(".")
    with edit_pipeline(project, "test") as edit:
        pipeline = add_process(edit.pipeline, Process(MAKER, "Refine3D/first/", "relion.refine3d", Status.SCHEDULED))
        outputs = [Node(STAR, "ParticleGroupMetadata.star.relion.refine3d"), Node(MAP, "DensityMap.mrc.relion.refine3d")]
        edit.pipeline = add_outputs(pipeline, MAKER, outputs)
    (project / "Refine3D" / "first").symlink_to("job001")
    return project


def texts(star, **more):
    return new_texts(DYNAMIGHT) | {"fn_star": star, "fn_map": MAP} | more


@pytest.mark.parametrize("way", [*WAYS, "alias"])
def test_a_later_input_is_taken_under_every_name(project, way):
    written = "Refine3D/first/run_data.star" if way == "alias" else way.format(STAR, project=project)
    name = new_job(project, DYNAMIGHT, texts(written))
    assert [node.path for node in read_pipeline(project).inputs_of(name)] == [STAR, MAP]


@pytest.mark.parametrize("way", ["{}", "./{}", "{project}/{}", "other/../{}"])
def test_job_star_names_files_relative_to_the_project(project, way):
    (project / "mask.mrc").touch()
    mask = way.format("mask.mrc", project=project)
    given = texts(way.format(STAR, project=project), other_args=f"--seed 3 --mask-file {mask}")
    name = new_job(project, DYNAMIGHT, given)
    values = job_star.read(project / name).values
    assert values["fn_star"] == STAR
    assert values["other_args"].split() == ["--seed", "3", "--mask-file", "mask.mrc"]
    assert [node.path for node in read_pipeline(project).inputs_of(name)] == [STAR, MAP, "mask.mrc"]


def test_a_file_that_nobody_will_write_is_refused_under_every_name(project):
    for way in WAYS:
        with pytest.raises(UserError, match=r"fn_star .* does not exist"):
            new_job(project, DYNAMIGHT, texts(way.format("Import/job009/x.star", project=project)))
