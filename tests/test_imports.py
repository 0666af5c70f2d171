"""The import rule of the house: who may import whom. Reads ``import`` statements; a new plugin fails until it has a row."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# rooms of relion_jobs, each may import those to its left and itself
ROOMS = ["contract", "pipeline", "ondisk", "running", "schemes", "upkeep", "cli"]
# of the room schemes, these know no files, no clock and no processes
PURE_OF_SCHEMES = tuple(f"relion_jobs.schemes.{name}" for name in ("scheme_graph", "operators", "texts"))
FRONT_DOORS = {"relion_jobs.cli", "relion_jobs.dropin", "relion_jobs.__main__", "relion_jobs"}

# plugin -> (rooms that its task rooms share, in order of use; task rooms, which do not import each other)
PLUGINS = {
    "dynamight": (
        ["model", "colours", "figures", "motion_figures", "occupancy", "outputs"],
        ["forward_deformations", "inverse_deformations", "backprojection", "visualization", "states", "export"],
    ),
    "simulate": ([], []),
    "toy": ([], []),
}

# task rooms that stand on others: room -> those that it may import
BUILT_ON = {
    "jobtypes.dynamight.states": ("jobtypes.dynamight.backprojection", "jobtypes.dynamight.visualization"),
    "jobtypes.dynamight.inverse_deformations": ("jobtypes.dynamight.visualization",),
}

# third-party package -> modules that may import it, and do
OWNERS = {
    "starfile": ["jobtypes.common.small_tables"],
    "filelock": ["relion_jobs.ondisk.locks"],
    "yaml": ["relion_jobs.contract.options", "relion_jobs.ondisk.site"],
    "mrcfile": ["jobtypes.common.volumes"],
    "torch.fft": ["jobtypes.common.fourier"],
    "matplotlib.colors.LinearSegmentedColormap": ["jobtypes.dynamight.colours"],
    "numba": ["jobtypes.dynamight.model.loops"],
    "gemmi": ["jobtypes.common.atomic_models"],
    "trimesh": ["jobtypes.dynamight.visualization.page"],
    "napari": ["jobtypes.dynamight.visualization.window"],
    "qtpy": ["jobtypes.dynamight.visualization.window"],
    "PyQt6": [],  # qtpy stands for whichever is there
}
TORCH_FREE = ("job", "options", "layout")
TORCH_FREE_MAY_IMPORT = ("relion_jobs.contract",)
HEAVY = ("torch", "numpy", "pandas", "matplotlib", "scipy", "mrcfile", "starfile", "napari", "qtpy", "numba")


def modules(package: str) -> list[tuple[str, Path]]:
    found = []
    for path in sorted((ROOT / package).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found.append((".".join(parts[:-1] if parts[-1] == "__init__" else parts), path))
    return found


def imports(name: str, source: str) -> set[str]:
    """Every module that `source` imports, names taken from a module included (``from a import b`` gives a and a.b)."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join([*name.split(".")[: -node.level], *([base] if base else [])])
            found |= {base} | {f"{base}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Attribute) and ast.unparse(node).startswith("torch.fft"):
            found.add("torch.fft")
    return found


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def complaints(name: str, imported: set[str]) -> list[str]:
    """Sentences about every import of module `name` that the house does not allow."""
    rule = _runner_complaints if within(name, "relion_jobs") else _plugin_complaints
    found = rule(name, {other for other in imported if within(other, "relion_jobs") or within(other, "jobtypes")})
    for package, owners in OWNERS.items():
        if any(within(other, package) for other in imported) and not any(within(name, owner) for owner in owners):
            found.append(f"{name} may not import {package}: only {', '.join(owners) or 'nobody'} may")
    if within(name, "relion_jobs") or name.split(".")[-1] in TORCH_FREE:
        found += [f"{name} may not import {package}" for package in HEAVY if any(within(other, package) for other in imported)]
    return found


def _runner_complaints(name: str, imported: set[str]) -> list[str]:
    room = "cli" if name in FRONT_DOORS else name.split(".")[1]
    if room not in ROOMS:
        return [f"{name} is in no room of the house; add its row to ROOMS"]
    allowed = ["relion_jobs." + left for left in ROOMS[: ROOMS.index(room) + 1]]
    allowed += ["relion_jobs.dropin"] if room == "cli" else []
    if name in PURE_OF_SCHEMES:
        allowed = ["relion_jobs.contract", "relion_jobs.pipeline", *PURE_OF_SCHEMES]
    return [
        f"{name} may not import {other}"
        for other in sorted(imported)
        if other not in ("relion_jobs", "relion_jobs.__version__") and not any(within(other, room) for room in allowed)
    ]


def _plugin_complaints(name: str, imported: set[str]) -> list[str]:
    parts = name.split(".")
    if len(parts) == 1:
        return []
    if parts[1] == "common":
        allowed: tuple[str, ...] = ("relion_jobs.contract", "relion_jobs.ondisk", "jobtypes.common")
    elif parts[1] not in PLUGINS:
        return [f"{name}: plugin '{parts[1]}' has no row in PLUGINS"]
    elif parts[-1] in TORCH_FREE:
        allowed = (*TORCH_FREE_MAY_IMPORT, *(f"jobtypes.{parts[1]}.{free}" for free in TORCH_FREE))
    else:
        allowed = _allowed_to_plugin(parts)
    return [
        f"{name} may not import {other}"
        for other in sorted(imported - {"jobtypes", "relion_jobs"})
        if not any(within(other, one) for one in allowed) and other not in (f"jobtypes.{parts[1]}",)
    ]


def _allowed_to_plugin(parts: list[str]) -> tuple[str, ...]:
    plugin = f"jobtypes.{parts[1]}"
    shared, task_rooms = PLUGINS[parts[1]]
    room = parts[2] if len(parts) > 2 else ""
    base = ("relion_jobs.contract", "jobtypes.common", *(f"{plugin}.{free}" for free in TORCH_FREE if free != "job"))
    if room in shared:
        return (*base, *(f"{plugin}.{left}" for left in shared[: shared.index(room) + 1]))
    if room in task_rooms:
        own = f"{plugin}.{room}"
        return (*base, *(f"{plugin}.{one}" for one in shared), own, *BUILT_ON.get(own, ()))
    # files beside job.py, such as all of a small plugin
    return (*base, plugin)


@pytest.mark.parametrize(("name", "path"), [*modules("relion_jobs"), *modules("jobtypes")], ids=lambda value: str(value))
def test_a_module_imports_only_what_the_house_allows(name: str, path: Path) -> None:
    assert complaints(name, imports(name, path.read_text())) == []


@pytest.mark.parametrize(("package", "owner"), [(package, owner) for package, owners in OWNERS.items() for owner in owners])
def test_every_owner_of_a_package_imports_it(package: str, owner: str) -> None:
    of_owner = [(name, path) for name, path in [*modules("relion_jobs"), *modules("jobtypes")] if within(name, owner)]
    assert any(within(other, package) for name, path in of_owner for other in imports(name, path.read_text()))


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("relion_jobs.contract.options", "from relion_jobs.ondisk import star"),
        ("relion_jobs.ondisk.locks", "import relion_jobs.running.worker"),
        ("relion_jobs.running.worker", "import jobtypes.toy.job"),
        ("relion_jobs.running.worker", "import torch"),
        ("relion_jobs.running.scheduler", "from relion_jobs.schemes import runner"),
        ("relion_jobs.schemes.runner", "from relion_jobs.upkeep import verify"),
        ("relion_jobs.schemes.scheme_graph", "from relion_jobs.ondisk import star"),
        ("relion_jobs.ondisk.star", "import filelock"),
        ("jobtypes.common.fourier", "from jobtypes.dynamight.model import field"),
        ("jobtypes.common.masks", "import torch\ntorch.fft.fft2(1)"),
        ("jobtypes.dynamight.options", "import torch"),
        ("jobtypes.dynamight.layout", "import numpy"),
        ("jobtypes.dynamight.layout", "from jobtypes.dynamight.model import result"),
        ("jobtypes.dynamight.job", "from jobtypes.common import fourier"),
        ("jobtypes.dynamight.forward_deformations.task", "from jobtypes.dynamight.backprojection import solve"),
        ("jobtypes.dynamight.model.field", "from ..forward_deformations import losses"),
        ("jobtypes.dynamight.visualization.session", "from jobtypes.dynamight.states import making"),
        ("jobtypes.dynamight.states.task", "from jobtypes.dynamight.visualization.window import opening\nimport napari"),
        ("jobtypes.dynamight.outputs", "from jobtypes.dynamight.visualization.window import Window"),
        ("jobtypes.dynamight.visualization.surface", "import trimesh"),
        ("jobtypes.simulate.task", "from jobtypes.dynamight.model import field"),
        ("jobtypes.simulate.task", "from relion_jobs.running import execute"),
        ("jobtypes.brandnew.task", "from jobtypes.common import fourier"),
    ],
)
def test_a_planted_violation_is_named(name: str, source: str) -> None:
    assert complaints(name, imports(name, source))


def test_the_command_line_starts_without_torch_and_with_few_modules() -> None:
    code = "import sys; before = len(sys.modules); import relion_jobs.cli; print(len(sys.modules) - before); print(*sys.modules)"
    count, names = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout.splitlines()
    assert not set(HEAVY) & set(names.split())
    assert int(count) < 250
