"""Docstrings say shapes and fields in one way, which CONTRIBUTING.md shows; rooms that do so are listed, and stay so."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS_IN_LINE = ("relion_jobs", "jobtypes/common", "jobtypes/dynamight", "jobtypes/toy")
SHAPE = r"\((?:[\w*.]+(?: // \d)?(?: [+-] \d)?, ?)+[^)]*\)"  # (n,), (b, N, N // 2 + 1)


def entries(docstring: str) -> Iterator[tuple[str, str, str]]:
    """Name, what stands behind its colon, and first line of the text, of every parameter and attribute."""
    section, lines = "", docstring.splitlines()
    for line, below in zip(lines, [*lines[1:], ""], strict=True):
        if below and set(below) == {"-"}:
            section = line
        elif section in ("Parameters", "Attributes") and (found := re.fullmatch(r"(\w[\w, ]*?)(?: : (.*))?", line)):
            for name in found[1].split(", "):
                yield name, found[2] or "", below.strip()


def complaints(source: str) -> list[str]:
    """Sentences about every docstring that says shapes or fields in another way."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.FunctionDef | ast.ClassDef) or not (docstring := ast.get_docstring(node)):
            continue
        is_dataclass = any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list)
        if is_dataclass and "Parameters\n---" in docstring:
            found.append(f"{node.name} is a dataclass: its fields are Attributes")
        kinds = annotations(node)
        for name, shape, text in entries(docstring):
            if re.match(SHAPE, text):
                found.append(f"{node.name}: the shape of {name} stands behind its name, '{name} : (n, 3) A'")
            elif not shape and re.match(r"Tensor|NDArray", kinds.get(name, "")):
                found.append(f"{node.name}: {name} has no shape")
    return found


def annotations(node: ast.FunctionDef | ast.ClassDef) -> dict[str, str]:
    """Types of a function's arguments, or of a class's fields and its constructor's arguments."""
    if isinstance(node, ast.ClassDef):
        fields = {ast.unparse(one.target): ast.unparse(one.annotation) for one in node.body if isinstance(one, ast.AnnAssign)}
        makers = [one for one in node.body if isinstance(one, ast.FunctionDef) and one.name == "__init__"]
        return fields | {name: kind for maker in makers for name, kind in annotations(maker).items()}
    given = [*node.args.args, *node.args.kwonlyargs]
    return {one.arg: ast.unparse(one.annotation) for one in given if one.annotation is not None}


def in_line() -> list[Path]:
    return [path for room in ROOMS_IN_LINE for path in sorted((ROOT / room).rglob("*.py"))]


@pytest.mark.parametrize("path", in_line(), ids=lambda path: str(path.relative_to(ROOT)))
def test_shapes_and_fields_are_said_in_one_way(path: Path) -> None:
    assert complaints(path.read_text()) == []


@pytest.mark.parametrize(
    ("signature", "entry"),
    [
        ("def f(x: Tensor):", "Parameters\n    ----------\n    x\n        (n, 3) in A."),
        ("def f(x: Tensor):", "Parameters\n    ----------\n    x\n        (N // 2 + 1,) curve."),
        ("def f(x: NDArray[np.float64], y: Tensor):", "Parameters\n    ----------\n    y, x\n        Points."),
        ("@dataclass(frozen=True)\nclass F:", "Parameters\n    ----------\n    x\n        A number."),
        (
            "class F:",
            'Parameters\n    ----------\n    x\n        Points.\n    """\n    def __init__(self, x: Tensor):\n        """Make',
        ),
    ],
)
def test_another_way_is_named(signature: str, entry: str) -> None:
    assert complaints(f'{signature}\n    """Do.\n\n    {entry}\n    """\n')


def test_the_one_way_is_taken() -> None:
    parts = "Parameters\n    ----------\n    x, y : (n, 3) A\n        Points (n of them).\n    count\n        (At most) so many."
    assert complaints(f'def f(x: Tensor, y: Tensor, count: int):\n    """Do.\n\n    {parts}\n    """\n') == []
