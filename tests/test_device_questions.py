"""Few places ask what a tensor lies on: the choice of the backend, and what a GPU wants of memory, streams and threads."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# what asks -> modules that may ask it
MAY_ASK = {
    "the kind of a device": [
        "jobtypes/common/devices.py",
        "jobtypes/dynamight/model/backend.py",
        "jobtypes/dynamight/backprojection/backend.py",
    ],
    # how the half sets share one: in threads of a process on a GPU, in processes on a CPU
    # and what is kept there beside the sums in memory
    "is_gpu": [
        "jobtypes/common/devices.py",
        "jobtypes/common/shared_halves.py",
        "jobtypes/dynamight/forward_deformations/task.py",
        "jobtypes/dynamight/backprojection/sums_store.py",
    ],
    # the loops are called through the backend of a room alone; rays, and maps that are carried, have no other way than loops
    "over_particles": [
        "jobtypes/dynamight/model/loops.py",
        "jobtypes/dynamight/model/compiled_loops.py",
        "jobtypes/dynamight/backprojection/compiled_loops.py",
        "jobtypes/dynamight/visualization/rays.py",
        "jobtypes/dynamight/visualization/states.py",
    ],
    "backend_for": [
        "jobtypes/dynamight/model/backend.py",
        "jobtypes/dynamight/model/projection.py",
        "jobtypes/dynamight/backprojection/backend.py",
        "jobtypes/dynamight/backprojection/ball_transforms.py",
        "jobtypes/dynamight/backprojection/slices.py",
        "jobtypes/dynamight/backprojection/warp.py",
    ],
}
KINDS = ("is_cuda", "is_cpu", "is_meta", "is_mps", "is_xpu")


def questions(source: str) -> set[str]:
    """Keys of MAY_ASK that a source asks."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and (
            node.attr in KINDS or (node.attr == "type" and "device" in ast.unparse(node.value).lower())
        ):
            found.add("the kind of a device")
        name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
        found |= {name} & MAY_ASK.keys()
    return found


@pytest.mark.parametrize("path", sorted((ROOT / "jobtypes").rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_asks_only_what_it_may(path: Path) -> None:
    name = str(path.relative_to(ROOT))
    assert [question for question in questions(path.read_text()) if name not in MAY_ASK[question]] == []


@pytest.mark.parametrize("question", MAY_ASK)
def test_every_module_that_may_ask_is_there_and_asks(question: str) -> None:
    silent = [name for name in MAY_ASK[question] if question not in questions((ROOT / name).read_text())]
    assert [name for name in silent if f"def {question}" not in (ROOT / name).read_text()] == []


@pytest.mark.parametrize(
    ("source", "question"),
    [
        ("if points.device.type != 'cpu': pass", "the kind of a device"),
        ("if devices[0].type == 'cuda': pass", "the kind of a device"),
        ("if points.is_cuda: pass", "the kind of a device"),
        ("loops.over_particles(loop, particles)", "over_particles"),
        ("splat = backend_for(points.device).splat", "backend_for"),
    ],
)
def test_a_planted_question_is_named(source: str, question: str) -> None:
    assert questions(source) == {question}
