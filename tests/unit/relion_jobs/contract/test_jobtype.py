from pathlib import PurePosixPath

import pytest

from relion_jobs.contract.errors import UserError
from relion_jobs.contract.jobtype import JobType, Task
from relion_jobs.contract.nodes import DENSITY_MAP, PARTICLES, Node
from relion_jobs.contract.options import Option

STAR = Option("fn_star", "Images:", "I/O", "node", "", "", node_label=PARTICLES)
MAP = Option("fn_map", "Map:", "I/O", "node", "", "", node_label=DENSITY_MAP)
TASKS = (
    Task("train", "training", "m:f"),
    Task("inverse", "inverse", "m:f", switch="do_inverse"),
    Task("reconstruct", "reconstruction", "m:f", switch="do_reconstruct", outputs=(("b/map_half1.mrc", "DensityMap.mrc.x"),)),
)
TYPE = JobType("dynamight", "DynaMight", (STAR, MAP), TASKS, label="dynamight", directory="DynaMight")


def test_a_type_that_relion_does_not_know_is_external():
    mine = JobType("toy", "Toy", (), TASKS)
    assert (mine.type_label, mine.type_directory) == ("relion.external.toy", "External")
    assert (TYPE.type_label, TYPE.type_directory) == ("dynamight", "DynaMight")


def test_a_new_job_runs_the_first_task_whatever_is_ticked():
    assert TYPE.choose_task({"do_inverse": True}, is_continue=False).name == "train"


def test_continue_runs_the_ticked_task_or_the_first_again():
    assert TYPE.choose_task({"do_inverse": True}, is_continue=True).name == "inverse"
    assert TYPE.choose_task({}, is_continue=True).name == "train"


def test_two_ticked_tasks_are_refused_as_in_relion():
    with pytest.raises(UserError, match="more than one task simultaneously: do_inverse and do_reconstruct"):
        TYPE.choose_task({"do_inverse": True, "do_reconstruct": True}, is_continue=True)


def test_given_files_are_input_nodes():
    assert TYPE.input_nodes({"fn_star": "a.star", "fn_map": None}) == [Node("a.star", PARTICLES)]


def test_outputs_lie_in_the_job_directory():
    assert TYPE.output_nodes(TASKS[2], PurePosixPath("DynaMight/job002/")) == [
        Node("DynaMight/job002/b/map_half1.mrc", "DensityMap.mrc.x")
    ]


def test_an_unknown_option_is_told_with_the_remedy():
    assert TYPE.option("fn_map") is MAP
    with pytest.raises(UserError, match=r"no option 'fn_mask'; 'relion_jobs options dynamight' lists them"):
        TYPE.option("fn_mask")
