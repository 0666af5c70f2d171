import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from jobtypes.simulate import results, score
from jobtypes.simulate.motion_measures import true_displacements
from jobtypes.simulate.truth import read_truth


@pytest.fixture
def result(tiny_set, tmp_path) -> Path:
    """A folder as the drop-in executable exports it, holding 90 % of the true motion."""
    truth, folder = read_truth(tiny_set), tmp_path / "result"
    write_result(truth, folder)
    for half in (1, 2):
        shutil.copy(tiny_set / f"truth/oracle_half{half}.mrc", folder / f"map_half{half}.mrc")
    return folder


def write_result(truth, folder: Path) -> None:
    folder.mkdir(parents=True)
    points = truth.positions(truth.consensus_coordinates)[::9]
    for half in (1, 2):
        rows = np.flatnonzero(truth.half == half)
        moved = 0.9 * true_displacements(truth, points, rows[::2], truth.consensus_coordinates)[0]
        latent = np.column_stack([truth.coordinates[rows], np.zeros(len(rows))])
        arrays = {"index": rows, "latent": latent, "points": points, "disp": moved, "disp_index": rows[::2]}
        for name, array in arrays.items():
            np.save(folder / f"{name}_half{half}.npy", array)


def test_exported_files_are_scored_in_numbers_and_words(tiny_set, result, capsys):
    report = result / "score.json"
    assert score.main(["--data", str(tiny_set), "--result", str(result), "--json", str(report)]) == 0
    out = capsys.readouterr().out
    assert "99.0% of the true motion" in out
    assert "its size is 90% of the true one" in out
    numbers = json.loads(report.read_text())
    assert numbers["deformation"]["half2"]["moving"]["gain"] == pytest.approx(0.9, abs=0.01)
    assert numbers["maps"]["result"]["best_moving"] == numbers["maps"]["oracle"]["best_moving"]
    assert numbers["maps"]["rigid"]["best_moving"]["auc"] < numbers["maps"]["oracle"]["best_moving"]["auc"]


def test_a_result_below_the_mark_fails(tiny_set, result, capsys):
    command = ["--data", str(tiny_set), "--result", str(result)]
    assert score.main([*command, "--at-least", "0.8"]) == 0
    assert score.main([*command, "--at-least", "0.999"]) == 1
    assert "below the 0.999 asked for" in capsys.readouterr().err


def test_latents_alone_are_enough(tiny_set, result, capsys):
    for path in [*result.glob("disp*"), *result.glob("map*")]:
        path.unlink()
    assert score.main(["--data", str(tiny_set), "--result", str(result)]) == 0
    assert "no displacements" in capsys.readouterr().out


def test_a_rigid_set_is_scored_without_a_path(make_set, tmp_path, capsys):
    place = make_set(tmp_path / "project", nr_motions="0", nr_particles="40")
    write_result(read_truth(place), tmp_path / "result")
    report = tmp_path / "score.json"
    assert score.main(["--data", str(place), "--result", str(tmp_path / "result"), "--json", str(report)]) == 0
    assert "nothing moves in truth" in capsys.readouterr().out
    assert json.loads(report.read_text())["deformation"]["half1"]["core"]["gain"] is None


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: np.save(folder / "index_half1.npy", np.arange(1000, 1060)), "another particle set"),
        (lambda folder: np.save(folder / "disp_half1.npy", np.zeros((3, 4))), "expected"),
        (lambda folder: (folder / "points_half1.npy").write_bytes(b"no array"), "cannot be read as an array"),
        (lambda folder: (folder / "map_half2.mrc").unlink(), "does not exist"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_sentence(tiny_set, result, capsys, spoil, message):
    spoil(result)
    assert score.main(["--data", str(tiny_set), "--result", str(result)]) == 1
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "Give a job directory"),
        (["nowhere"], "no job directory"),
        (["job", "--data", "x"], "not both"),
        (["--data", "nowhere", "--result", "."], "no known motion"),
    ],
)
def test_wrong_commands_are_refused(argv, message, capsys):
    assert score.main(argv) == 1
    assert message in capsys.readouterr().err


def make_job(tiny_set, star="External/job001/particles.star") -> Path:
    job = tiny_set.parents[1] / "DynaMight/job002"
    job.mkdir(parents=True, exist_ok=True)
    (job / "job.star").write_text(f'data_joboptions_values\n\nloop_\n_a #1\n_b #2\n fn_map ""\n   fn_star {star}\n')
    return job


def test_a_job_finds_its_truth_and_exports_itself(tiny_set, monkeypatch, capsys):
    job, commands = make_job(tiny_set), []

    def export(command, **_):
        commands.append(command)
        shutil.rmtree(job / "score", ignore_errors=True)
        write_result(read_truth(tiny_set), job / "score")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(results.subprocess, "run", export)
    assert score.main([str(job), "--particles", "7"]) == 0
    assert commands[0][1:] == [
        "-m", "relion_jobs.dropin", "dynamight", "export", str(job), "--output", str(job / "score"), "--particles", "7",
    ]  # fmt: skip
    assert "well found" in capsys.readouterr().out


def test_a_failed_export_passes_its_sentence_on(tiny_set, monkeypatch, capsys):
    failed = subprocess.CompletedProcess([], 1, "", "Traceback...\nThere is no checkpoint in DynaMight/job002.\n")
    monkeypatch.setattr(results.subprocess, "run", lambda *_, **__: failed)
    assert score.main([str(make_job(tiny_set))]) == 1
    assert "There is no checkpoint" in capsys.readouterr().err


def test_a_job_on_real_particles_cannot_be_scored(tiny_set, capsys):
    (tiny_set.parents[1] / "real.star").write_text("")
    assert score.main([str(make_job(tiny_set, "real.star"))]) == 1
    assert "only simulated sets can be scored" in capsys.readouterr().err
