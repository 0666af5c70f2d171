"""The maps of the house are true: what a page or the docstring of a package names is there, and every module has its place."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("relion_jobs", "jobtypes", "tests", "benchmarks", "docs", ".ci")
PAGES = [*ROOT.glob("docs/*.md"), *(ROOT / name for name in ("README.md", "CONTRIBUTING.md")), *ROOT.glob("*/README.md")]
OF_USERS = ("site.yaml", "stamp/job.yaml", "stamp/job.py", "stamp/task.py")  # files that the pages tell their readers to make
PACKAGES = sorted(path.parent for name in FOLDERS[:2] for path in (ROOT / name).rglob("__init__.py"))
ROW = re.compile(r"([\w*./]+(?:, [\w*./]+)*) ")


def missing_paths(text: str) -> set[str]:
    """Paths of this tree, and files by their name alone, that a page names in code and that are not there."""
    words = {word for line in re.findall(r"`([^`\n]+)`", text) + code_lines(text) for word in re.findall(r"[\w./-]+", line)}
    paths = {word for word in words if word.startswith(tuple(f"{folder}/" for folder in FOLDERS))}
    files = {word for word in words if re.fullmatch(r"[\w/]+\.(?:py|yaml|md|toml|cfg)", word)} - paths - set(OF_USERS)
    return {path for path in paths if not (ROOT / path).exists()} | {file for file in files if not stands_somewhere(file)}


def code_lines(text: str) -> list[str]:
    return [line for block in re.findall(r"^```sh\n(.*?)\n```$", text, re.MULTILINE | re.DOTALL) for line in block.splitlines()]


def stands_somewhere(file: str) -> bool:
    return (ROOT / file).exists() or any(any((ROOT / folder).rglob(file)) for folder in FOLDERS)


def rows(docstring: str) -> list[str]:
    """The first column of the tables in the docstring of a package."""
    tables = [part.splitlines() for part in docstring.split("\n\n") if re.search(rf"^{ROW.pattern} +\S", part, re.MULTILINE)]
    return [name for table in tables for line in table if (row := ROW.match(line)) for name in row[1].split(", ")]


def modules(package: Path) -> set[Path]:
    inside = {path for path in package.glob("*.py") if not path.name.startswith("__")}
    return inside | {path.parent for path in package.glob("*/__init__.py")}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_path_that_a_page_names_is_there(page: Path) -> None:
    assert missing_paths(page.read_text()) == set()


def test_a_path_that_is_gone_is_noticed() -> None:
    text = "See `jobtypes/dynamight/gone.py`, `gone.py`, `options.py` and\n```sh\npython -m pytest tests/unit/gone\n```\n"
    assert missing_paths(text) == {"jobtypes/dynamight/gone.py", "gone.py", "tests/unit/gone"}


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_docstring_of_a_package_is_its_map(package: Path) -> None:
    docstring = ast.get_docstring(ast.parse((package / "__init__.py").read_text())) or ""
    named = {name: {*package.glob(name), *package.glob(f"{name}.py")} for name in rows(docstring)}
    assert [name for name, found in named.items() if not found] == []
    unnamed = modules(package) - {path for found in named.values() for path in found}
    assert [path.name for path in sorted(unnamed) if not re.search(rf"\b{path.stem}\b", docstring)] == []
