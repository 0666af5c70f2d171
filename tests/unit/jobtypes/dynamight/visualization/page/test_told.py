from __future__ import annotations

import json
from pathlib import Path

import pytest

from jobtypes.common.small_tables import write_small_tables
from jobtypes.dynamight.backprojection.fsc_files import write_fsc_star
from jobtypes.dynamight.figures import new_figure, save_figure
from jobtypes.dynamight.visualization.page import told
from relion_jobs.contract.errors import BadStarFile

LINES = [
    "Time: 13 ms for a step.",
    "training: 100/100 particles (100 %), 3 particles/s, took 26 s",
    "Half 1: the density moves by 3.8 A rms, and more.",
    "Half 2: no motion was found; what was learned is 0.10 A rms.",
    "Half 1: the density moves by 4.0 A rms, and more.",
    "Half 1: 0.0 % of the particles are something else.",
    "training: 100/100 particles (100 %), 3 particles/s, took 30 s",
    "Time: 13 ms for a step.",
]


def test_the_last_finding_of_each_half_set_counts() -> None:
    assert told.findings(LINES) == {1: LINES[4], 2: LINES[3]}


def test_the_plan_stands_beside_what_it_took() -> None:
    assert told.plan_and_times(LINES) == {"plan": [("Time", "13 ms for a step.")], "took": [("training", "30 s")]}


def test_a_job_that_has_told_nothing_shows_nothing(tmp_path: Path) -> None:
    assert told.lines_of(tmp_path) == []
    assert told.training_curves(tmp_path) == {}
    assert told.reconstruction(tmp_path) is None
    assert told.regions(tmp_path) == {}
    assert told.pictures(tmp_path) == told.links(tmp_path) == []


def test_likelihoods_are_shown_where_all_resolution_is_used(tmp_path: Path) -> None:
    rows = [
        {"epoch": epoch, "half": 1, "loss": epoch, "held_out": -epoch, "rms_motion_angstroms": 1.0, "resolution_angstroms": limit}
        for epoch, limit in enumerate((16.0, 8.0, 8.0))
    ]
    path = tmp_path / "forward_deformations/history.json"
    path.parent.mkdir()
    path.write_text(json.dumps(rows))
    curves = told.training_curves(tmp_path)
    assert curves["held_out"][0]["points"] == [(2, -1), (3, -2)]
    assert len(curves["rms_motion_angstroms"][0]["points"]) == 3


def test_verdict_and_curves_are_those_of_the_reconstruction(tmp_path: Path) -> None:
    import torch

    curve = torch.linspace(1, 0, 5)
    figures = {"rlnDynamightVerdict": "better", "rlnFinalResolution": 5.0}
    path = tmp_path / "backprojection/fsc.star"
    write_fsc_star(path, {"deformed": (curve, curve), "rigid": (curve, curve)}, box=8, pixel_size_angstroms=2.0, figures=figures)
    found = told.reconstruction(tmp_path)
    assert found is not None
    assert found["figures"]["rlnDynamightVerdict"] == "better"
    assert found["curves"][1]["points"][-1] == [pytest.approx(0.25), pytest.approx(0.0)]
    write_small_tables(path, {"general": {"rlnFinalResolution": 5.0}})
    with pytest.raises(BadStarFile, match="rlnDynamightVerdict"):
        told.reconstruction(tmp_path)


def test_figures_come_with_their_words(tmp_path: Path) -> None:
    figure, _ = new_figure()
    path = tmp_path / "visualization/figures/01_latents_half1.png"
    save_figure(figure, path, title="Latents", caption="Each point a particle.")
    assert told.pictures(tmp_path) == [{"file": path, "title": "Latents", "caption": "Each point a particle."}]
