from __future__ import annotations

import os
import site
import subprocess
import sys
from pathlib import Path

import pytest

from relion_jobs.running.foreign_packages import PACKAGE_ROOT, foreign_packages
from relion_jobs.running.sentences import sentence

OF_ANOTHER_PYTHON = "raise ImportError('numpy C-extensions failed:\\nthis is Python 3.11, expected 3.6')\n"


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """The packages of another program: a numpy of another Python, and what nobody here needs."""
    folder = tmp_path / "eman" / "site-packages"
    for name in ("numpy", "EMAN2"):
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text(OF_ANOTHER_PYTHON)
    return folder


def test_a_foreign_package_is_named_with_its_folder_and_the_remedy(foreign: Path) -> None:
    found = foreign_packages([str(foreign), *sys.path], {"PYTHONPATH": f"/nowhere:{foreign}"})
    assert found.startswith(f"numpy of {foreign} (PYTHONPATH) took the place of what was installed with this program")
    assert "unset PYTHONPATH" in found
    assert "EMAN2" not in found


def test_many_packages_are_counted(foreign: Path) -> None:
    for name in ("torch", "scipy", "pandas", "yaml", "json"):
        (foreign / f"{name}.py").touch()
    assert "json, numpy, pandas, scipy and 2 more of" in foreign_packages([str(foreign), *sys.path], {"PYTHONPATH": str(foreign)})


def test_our_own_folders_and_folders_of_other_packages_are_not_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "my_plugin").mkdir()
    (tmp_path / "my_plugin" / "__init__.py").touch()
    path = [str(PACKAGE_ROOT), str(tmp_path), *filter(None, sys.path)]
    assert foreign_packages(path, {"PYTHONPATH": os.pathsep.join(path)}) == ""
    assert foreign_packages(environment={}) == ""


def test_packages_of_the_account_are_named_with_their_remedy(foreign: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site, "getusersitepackages", lambda: str(foreign))
    found = foreign_packages([str(foreign), *sys.path], {})
    assert f"numpy of {foreign} (your account)" in found
    assert "export PYTHONNOUSERSITE=1" in found
    assert foreign_packages([*sys.path, str(foreign)], {}) == ""  # behind what is installed


@pytest.mark.parametrize("error", [ImportError("no C extension"), AttributeError("numpy has no attribute 'strings'")])
def test_an_error_that_is_none_of_the_input_names_what_may_be_behind_it(
    foreign: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(sys, "path", [str(foreign), *sys.path])
    monkeypatch.setenv("PYTHONPATH", str(foreign))
    assert f"numpy of {foreign} (PYTHONPATH)" in sentence(error)
    monkeypatch.delenv("PYTHONPATH")
    assert "PYTHONPATH" not in sentence(error)


def test_a_command_that_fails_by_a_foreign_package_says_so(foreign: Path) -> None:
    command = [sys.executable, "-c", "from relion_jobs.cli import main; raise SystemExit(main(['score', 'DynaMight/job002']))"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join((str(foreign), str(PACKAGE_ROOT)))}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"numpy of {foreign} (PYTHONPATH) took the place" in done.stderr
    assert "Traceback" not in done.stderr
