from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from jobtypes.dynamight.visualization.window import system_libraries
from jobtypes.dynamight.visualization.window.system_libraries import debian_package, missing_libraries

ROOT = Path(__file__).parents[6]


@pytest.fixture
def lacking(tmp_path: Path) -> Path:
    """A shared object that needs two libraries, which have gone since it was made."""
    compiler = shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("needs a C compiler on Linux")
    for name in ("here", "gone"):
        made = tmp_path / f"lib{name}.so"
        subprocess.run([compiler, "-shared", "-o", made, "-x", "c", "/dev/null", f"-Wl,-soname,lib{name}.so.4"], check=True)
    plugin = tmp_path / "plugin.so"
    words = ["-Wl,--no-as-needed", f"-L{tmp_path}", "-lhere", "-lgone", f"-Wl,-rpath,{tmp_path}"]
    subprocess.run([compiler, "-shared", "-o", plugin, "-x", "c", "/dev/null", *words], check=True)
    (tmp_path / "libhere.so").rename(tmp_path / "libhere.so.4")
    return plugin


@pytest.mark.parametrize("has_ldd", [True, False])
def test_a_library_that_is_gone_is_found_out_and_one_that_is_there_is_not_named(
    lacking: Path, monkeypatch: pytest.MonkeyPatch, has_ldd: bool
) -> None:
    if not has_ldd:
        monkeypatch.setattr(system_libraries.shutil, "which", lambda program: None)
    assert missing_libraries(lacking) == ["libgone.so.4"]


@pytest.mark.parametrize(
    ("library", "package"),
    [
        ("libxcb-icccm.so.4", "libxcb-icccm4"),
        ("libxkbcommon-x11.so.0", "libxkbcommon-x11-0"),
        ("libX11-xcb.so.1", "libx11-xcb1"),
        ("libEGL.so.1", "libegl1"),
        ("libdbus-1.so.3", "libdbus-1-3"),
        ("libSM.so.6", "libsm6"),
    ],
)
def test_the_debian_package_follows_from_the_name(library: str, package: str) -> None:
    assert debian_package(library) == package


def test_readme_lists_the_packages_that_the_xcb_plugin_of_qt_needs() -> None:
    qt = pytest.importorskip("PyQt6")
    plugin = Path(qt.__file__).parent / "Qt6/plugins/platforms/libqxcb.so"
    ldd = shutil.which("ldd")
    if ldd is None or not plugin.is_file():
        pytest.skip("needs ldd and Qt's plugin for X11")
    listed = (ROOT / "README.md").read_text().split()
    said = subprocess.run([ldd, plugin], capture_output=True, text=True, check=True).stdout
    names = [line.split()[0] for line in said.splitlines() if line.split()[0].startswith(("libxcb-", "libxkbcommon-x11"))]
    # the others come with those that README names
    needed = {debian_package(name) for name in names} - {"libxcb-glx0", "libxcb-shm0", "libxcb-render0", "libxcb-util1"}
    assert needed
    assert needed <= {word.strip("`.,") for word in listed}
