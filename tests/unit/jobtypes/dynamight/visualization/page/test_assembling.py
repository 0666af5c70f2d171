from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from fnmatch import fnmatch
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import pytest
import trimesh.resources

from jobtypes.dynamight.visualization.page import assembling
from relion_jobs.contract.errors import UserError

ROOT = Path(__file__).parents[6]
BROWSER = Path(assembling.__file__).parent / "browser"


def _can_build() -> bool:
    try:
        version("pip")
        return int(version("setuptools").split(".")[0]) >= 77  # as pyproject.toml asks for
    except PackageNotFoundError:
        return False


def test_every_file_of_the_browser_is_in_the_page() -> None:
    assert {path.name for path in BROWSER.iterdir()} == {"page.html", "style.css", *assembling.SCRIPTS}


def test_the_page_holds_everything_and_loads_nothing(tmp_path: Path) -> None:
    path = tmp_path / "explore.html"
    assembling.write_page({"job": "a < b", "words": "</script>"}, path)
    page = path.read_text()
    assert "<title>a &lt; b · DynaMight</title>" in page
    assert page.count("</script>") == page.count("<script") == 3
    assert "{{" not in page
    assert re.findall(r"<(?:script|link|img|iframe)[^>]+(?:src|href)=\"(?!data:)", page) == []
    assert "default-src 'none'" in page


def test_numbers_of_numpy_and_what_is_none_can_be_shown(tmp_path: Path) -> None:
    path = tmp_path / "explore.html"
    assembling.write_page(
        {"job": "a", "error": np.float64("inf"), "count": np.int64(3), "list": (np.nan, 1.5, "<!-- <script")}, path
    )
    held = re.search(r'<script id="content" type="application/json">(.*?)</script>', path.read_text(), re.DOTALL)
    assert held is not None
    assert json.loads(held[1]) == {"job": "a", "error": None, "count": 3, "list": [None, 1.5, "<!-- <script"]}


def test_the_library_is_threejs_with_its_licence_and_no_viewer() -> None:
    library = assembling.library()
    assert "Three.js Authors" in library[:200]
    assert "SPDX-License-Identifier: MIT" in library[:200]
    assert library.endswith("THREE.TrackballControls=TrackballControls;})();")
    assert "GLTFLoader" not in library


def test_another_trimesh_that_has_no_library_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "viewer.zip", "w") as archive:
        archive.writestr("viewer.html", "<script>new viewer</script>")
    monkeypatch.setattr(trimesh.resources, "get_bytes", lambda name: (tmp_path / "viewer.zip").read_bytes())
    with pytest.raises(UserError, match=r"has no three\.js in its viewer"):
        assembling.library()


@pytest.mark.skipif(shutil.which("node") is None, reason="Node.js is not installed")
def test_the_scripts_are_a_module_that_can_be_read(tmp_path: Path) -> None:
    module = tmp_path / "page.mjs"
    module.write_text("\n".join((BROWSER / name).read_text() for name in assembling.SCRIPTS))
    done = subprocess.run(["node", "--check", str(module)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_files_of_the_browser_are_installed_with_the_package() -> None:
    with open(ROOT / "pyproject.toml", "rb") as file:
        patterns = tomllib.load(file)["tool"]["setuptools"]["package-data"][assembling.__package__]
    assert all(any(fnmatch(f"browser/{path.name}", pattern) for pattern in patterns) for path in BROWSER.iterdir())


def test_a_wheel_holds_the_files_of_the_browser(tmp_path: Path) -> None:
    if not _can_build():
        pytest.skip("this environment has no setuptools and pip that could build a wheel without a network")
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(tmp_path), "."]
    source = tmp_path / "source"
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(".*", "tests", "docs", "benchmarks", "*.egg-info", "build"))
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        names = {Path(name).name for name in wheel.namelist() if "/page/browser/" in name}
    assert names == {path.name for path in BROWSER.iterdir()}
