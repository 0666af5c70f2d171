"""The sources keep the house style: ruff's rules, ruff's layout, mypy's types, short functions, one name for one thing."""

from __future__ import annotations

import ast
import statistics
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = {
    path: ast.parse(path.read_text()) for room in ("relion_jobs", "jobtypes") for path in sorted((ROOT / room).rglob("*.py"))
}
LONGEST, MEDIAN = 60, 9  # lines
IN_SEVERAL_ROOMS = ("__init__.py", "commands.py")  # the map of each room, and what its commands do


@pytest.mark.parametrize("words", [("ruff", "check"), ("ruff", "format", "--check"), ("mypy",)], ids=" ".join)
def test_nothing_is_complained_about_by(words):
    done = subprocess.run([sys.executable, "-m", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def lengths(tree: ast.Module) -> dict[str, int]:
    """Lines of every function, its docstring too."""
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return {f"{node.name} in line {node.lineno}": (node.end_lineno or 0) - node.lineno + 1 for node in functions}


def twice(names: list[str]) -> list[str]:
    return [name for name, count in Counter(names).items() if count > 1]


def test_functions_are_short():
    found = {path: lengths(tree) for path, tree in SOURCES.items()}
    too_long = [f"{path}: {name}" for path, of_file in found.items() for name, lines in of_file.items() if lines > LONGEST]
    assert too_long == []
    assert statistics.median(lines for of_file in found.values() for lines in of_file.values()) < MEDIAN


def test_the_length_of_a_function_counts_all_its_lines():
    assert lengths(ast.parse('class A:\n    def f(self):\n        """Do."""\n\n        return 1\n')) == {"f in line 2": 4}


def test_no_two_classes_share_a_name():
    classes = [node.name for tree in SOURCES.values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    assert "JobType" in classes
    assert twice(classes) == []


def test_no_two_modules_of_the_runner_share_a_name():
    modules = [path.name for path in SOURCES if path.is_relative_to(ROOT / "relion_jobs") and path.name not in IN_SEVERAL_ROOMS]
    assert "atomic.py" in modules
    assert twice(modules) == []


def test_a_name_that_two_things_share_is_noticed():
    assert twice(["a", "b", "a"]) == ["a"]


def test_a_pixel_size_says_its_unit():
    nodes = [node for tree in SOURCES.values() for node in ast.walk(tree)]
    names = {node.arg for node in nodes if isinstance(node, ast.arg)} | {
        node.attr for node in nodes if isinstance(node, ast.Attribute)
    }
    assert "pixel_size_angstroms" in names
    assert "pixel_size" not in names
