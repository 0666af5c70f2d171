"""What a job has told of itself: the lines of run.out, history, curves and tables in its directory."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from jobtypes.common.small_tables import read_small_tables
from jobtypes.dynamight import layout
from jobtypes.dynamight.figures import text_of_figure
from relion_jobs.contract import labels

_FINDING = re.compile(r"Half ([12]): (?:the density moves by|no motion was found)")
_TOOK = re.compile(r"(?P<stage>.+?): .*\(100 %\).*, took (?P<time>.+)$")
_PLANS = ("Time: ", "Enough particles? ", "Memory: ", "Inputs: ")
_CURVES = ("loss", "held_out", "rms_motion_angstroms", "resolution_angstroms")
_FSC_LABELS = ("rlnResolution", "rlnFourierShellCorrelation")
_LINKED = (
    ("all figures", Path(labels.LOGFILE_PDF)),
    ("deformed half map 1", layout.half_map(1)),
    ("deformed half map 2", layout.half_map(2)),
    ("deformed map, filtered", layout.MAP),
    ("rigid map, filtered", layout.RIGID_MAP),
    ("where it gained", layout.LOCAL_GAIN),
    ("consensus of half 1", layout.consensus(1)),
    ("consensus of half 2", layout.consensus(2)),
    ("Gaussians of half 1", layout.shown_gaussians(1)),
    ("particles with latents", layout.PARTICLES),
    ("states that were written", layout.shown_states(1)),
    ("log", Path(labels.RUN_OUT)),
)


def lines_of(job_directory: Path) -> list[str]:
    """Lines of run.out, none where there is no such file."""
    path = job_directory / labels.RUN_OUT
    return path.read_text(errors="replace").splitlines() if path.is_file() else []


def findings(lines: Iterable[str]) -> dict[int, str]:
    """Half set -> the last sentence that says whether motion was found."""
    return {int(found[1]): line for line in lines if (found := _FINDING.match(line))}


def plan_and_times(lines: Iterable[str]) -> dict[str, Any]:
    """The last plan, sentence by sentence, and how long each stage took in the end."""
    plan: dict[str, tuple[str, str]] = {}
    took: dict[str, str] = {}  # what was said again, by a later run, counts where it was said last
    for line in lines:
        for start in _PLANS:
            if line.startswith(start):
                plan.pop(line, None)
                plan[line] = (start.strip(" :?"), line.removeprefix(start))
        if found := _TOOK.match(line):
            took[found["stage"]] = found["time"]
    return {"plan": list(plan.values()), "took": list(took.items())}


def options(job_directory: Path) -> list[tuple[str, str]]:
    """What the job was asked for, as it stands in job.star; none where there is no such file.

    Raises
    ------
    BadStarFile
        It is damaged.
    """
    path = job_directory / labels.JOB_STAR
    if not path.is_file():
        return []
    columns = ("rlnJobOptionVariable", "rlnJobOptionValue")
    table = read_small_tables(path, {"joboptions_values": columns}, texts=columns)["joboptions_values"]
    return [(str(name), str(value).strip('"')) for name, value in table[list(columns)].to_numpy().tolist()]


def training_curves(job_directory: Path) -> dict[str, list[dict[str, Any]]]:
    """Name -> a curve of each half set over the epochs; none without a history."""
    path = job_directory / layout.HISTORY
    rows = json.loads(path.read_text()) if path.is_file() else []
    final = rows[-1]["resolution_angstroms"] if rows else 0
    curves: dict[str, list[dict[str, Any]]] = {}
    for name in _CURVES:
        for half in (1, 2):
            # likelihoods of fewer Fourier terms do not compare
            shown = [
                row for row in rows if row["half"] == half and (name not in _CURVES[:2] or row["resolution_angstroms"] == final)
            ]
            points = [(row["epoch"] + 1, row[name]) for row in shown if math.isfinite(row.get(name, math.nan))]
            if points:
                curves.setdefault(name, []).append({"name": f"half {half}", "half": half, "points": points})
    return curves


def reconstruction(job_directory: Path) -> dict[str, Any] | None:
    """Verdict and FSC curves; None where the job has no reconstruction.

    Raises
    ------
    BadStarFile
        The table of the reconstruction is damaged.
    """
    path = job_directory / layout.FSC_TABLE
    if not path.is_file():
        return None
    expected = {"general": ("rlnDynamightVerdict",), "fsc_deformed": _FSC_LABELS, "fsc_rigid": _FSC_LABELS}
    tables = read_small_tables(path, expected)
    curves = [
        {"name": name, "points": tables[f"fsc_{name}"][list(_FSC_LABELS)].to_numpy().tolist()} for name in ("deformed", "rigid")
    ]
    return {"figures": tables["general"], "curves": curves}


def regions(job_directory: Path) -> dict[int, list[list[float]]]:
    """Half set -> rows of its table of regions: number, x, y, z (A), share of the mass (%), rms and largest displacement (A)."""
    found = {}
    for half in (1, 2):
        if (path := job_directory / layout.shown_regions(half)).is_file():
            table: pd.DataFrame = read_small_tables(path, {"regions": ("region",)})["regions"]
            found[half] = pd.DataFrame(table).to_numpy().tolist()
    return found


def pictures(job_directory: Path) -> list[dict[str, Any]]:
    """Every figure of logfile.pdf: its file, title and caption, in its order."""
    paths = [path for pattern in layout.FIGURE_PATTERNS for path in sorted(job_directory.glob(pattern))]
    return [{"file": path, **text_of_figure(path)} for path in paths]


def links(job_directory: Path) -> list[tuple[str, str]]:
    """What lies beside the page: words, and the path from the page's folder."""
    return [(words, str(Path("..") / path)) for words, path in _LINKED if (job_directory / path).exists()]
