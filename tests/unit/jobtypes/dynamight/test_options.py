"""Options of the tasks: declared in job.yaml, nowhere else, and what those that an earlier version has stored count as."""

from __future__ import annotations

import re
import typing
from dataclasses import MISSING, fields

import pytest

from jobtypes.dynamight import options
from jobtypes.dynamight.job import JOB_TYPE
from jobtypes.dynamight.options import (
    EMBEDDINGS,
    FREE_ON_OTHER_PARTICLES,
    FREE_ON_RESUME,
    OPTIONS,
    BackprojectionOptions,
    ForwardOptions,
    InverseOptions,
    StatesOptions,
    VisualizationOptions,
)
from jobtypes.dynamight.visualization.reductions import METHODS
from relion_jobs.contract.errors import UserError
from relion_jobs.contract.options import Option, parse_values

OF_TASK = {
    "forward_deformations": ForwardOptions,
    "visualization": VisualizationOptions,
    "inverse_deformations": InverseOptions,
    "backprojection": BackprojectionOptions,
    "states": StatesOptions,
}
OF_THE_RUNNER = {"all_tasks"}  # of a task, but it is the runner who reads it
FILES = {"fn_star": "particles.star", "fn_map": "map.mrc"}
GIVEN = {"text": str, "file": str, "node": str, "integer": int, "number": float, "boolean": bool}

each_task = pytest.mark.parametrize("task", OF_TASK)


def declared_type(option: Option) -> object:
    """What the field of an option must be annotated with."""
    if option.kind == "choice":
        return typing.Literal[option.choices]  # type: ignore[valid-type]
    given = GIVEN[option.kind]
    may_be_empty = not option.required and not option.default and option.kind != "text"
    return given | None if may_be_empty else given


def test_every_task_has_a_class():
    assert set(OF_TASK) == {task.name for task in JOB_TYPE.tasks}


@each_task
def test_fields_are_options_of_the_task_all_of_them_with_their_types(task):
    shared = {option.variable for option in OPTIONS if not option.tasks}
    own = {option.variable for option in OPTIONS if task in option.tasks}
    names = {field.name for field in fields(OF_TASK[task])}
    assert own - OF_THE_RUNNER <= names <= own | shared
    types = {option.variable: declared_type(option) for option in OPTIONS if option.variable in names}
    assert typing.get_type_hints(OF_TASK[task]) == types


@each_task
def test_no_default_stands_in_python(task):
    assert [field.name for field in fields(OF_TASK[task]) if (field.default, field.default_factory) != (MISSING, MISSING)] == []


@each_task
def test_what_is_not_given_is_as_in_a_new_job(task, monkeypatch):
    of_a_new_job = OF_TASK[task].from_values(parse_values(OPTIONS, FILES, task=task))
    monkeypatch.setenv("RELION_QSUB_NRTHREADS", "7")  # which says what a new job is given, not what a task takes for granted
    assert OF_TASK[task].from_values(FILES) == of_a_new_job


def test_what_is_given_is_held_to_the_declaration():
    given = BackprojectionOptions.from_values(
        FILES | {"max_bins": 7, "seed": 0, "warp_interpolation": "linear", "bin_tolerance": 1}
    )
    assert (given.max_bins, given.seed, given.warp_interpolation, given.bin_tolerance) == (7, 0, "linear", 1.0)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"backprojection_field": "sideways"}, r"backprojection_field .* is 'sideways'; it must be one of forward, inverse"),
        ({"bin_tolerance": -1.0}, r"bin_tolerance .* is '-1.0'; it must be a number of at least 0.001"),
        ({"backproject_batchsize": 0}, r"backproject_batchsize .* is '0'; it must be a whole number of at least 1"),
        ({"reconstruction_iterations": None}, r"reconstruction_iterations .* is empty; it must be given, and its default is 10"),
        ({"fn_star": None}, r"fn_star .* is empty; it must be given"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(values, sentence):
    with pytest.raises(UserError, match=sentence):
        BackprojectionOptions.from_values(FILES | values)


@pytest.mark.parametrize(("given", "threshold"), [(-1.0, None), (0.0, None), (0.02, 0.02), (None, None)])
def test_a_threshold_of_0_or_less_is_automatic(given, threshold):
    assert ForwardOptions.from_values(FILES | {"initial_threshold": given}).initial_threshold == threshold


def test_every_embedding_is_a_way_to_draw_the_latent_space():
    assert set(EMBEDDINGS) == set(METHODS)


def test_what_is_free_to_change_is_an_option():
    assert FREE_ON_RESUME < FREE_ON_OTHER_PARTICLES < {field.name for field in fields(ForwardOptions)}


def test_stored_options_differ_by_value_and_what_was_not_known_counts_as_its_default(monkeypatch):
    now = ForwardOptions.from_values(FILES)
    assert now.differences(now.as_dict(), free=()) == []
    assert now.differences(FILES, free=()) == []
    assert now.differences(FILES | {"seed": 2, "gpu_id": "1"}, free=FREE_ON_RESUME) == ["seed"]
    assert ForwardOptions.from_values(FILES | {"n_basis_fields": 8}).differences(FILES, free=()) == ["n_basis_fields"]
    assert now.differences(FILES | {"n_rounds": 3}, free=()) == ["n_rounds"]
    monkeypatch.setattr(options, "WITHDRAWN", {"n_rounds": 3})
    assert now.differences(FILES | {"n_rounds": 3}, free=()) == []
    assert now.differences(FILES | {"n_rounds": 4}, free=()) == ["n_rounds"]


def test_two_names_of_one_file_do_not_differ():
    now, stored = ForwardOptions.from_values(FILES), FILES | {"fn_star": "./other.star", "fn_mask": None}
    assert now.differences(stored, free=()) == ["fn_star"]
    assert now.differences(stored, free=(), is_same_file=lambda one, other: True) == []
    assert now.differences(FILES | {"fn_mask": "mask.mrc"}, free=(), is_same_file=lambda one, other: True) == ["fn_mask"]
    assert now.differences(FILES | {"gpu_id": "1"}, free=(), is_same_file=lambda one, other: True) == ["gpu_id"]


def test_no_option_is_withdrawn_and_declared():
    assert not set(options.WITHDRAWN) & {option.variable for option in OPTIONS}


@each_task
def test_the_remedy_for_little_memory_names_options_of_the_task(task):
    (remedy,) = (each.memory_remedy for each in JOB_TYPE.tasks if each.name == task)
    named = set(re.findall(r"\w+_\w+|embedding", remedy))
    assert named
    assert named <= {field.name for field in fields(OF_TASK[task])}
