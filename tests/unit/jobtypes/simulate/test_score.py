import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from jobtypes.common.particles import read_particles, write_particles
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


def test_an_export_takes_as_many_particles_as_there_are_where_none_are_asked_for(tiny_set, monkeypatch):
    commands = []
    done = subprocess.CompletedProcess([], 0, "", "")
    monkeypatch.setattr(results.subprocess, "run", lambda command, **_: commands.append(command) or done)
    results.export(make_job(tiny_set), particles=None)
    assert "--particles" not in commands[0]


def test_a_failed_export_passes_its_sentence_on(tiny_set, monkeypatch, capsys):
    failed = subprocess.CompletedProcess([], 1, "", "Traceback...\nThere is no checkpoint in DynaMight/job002.\n")
    monkeypatch.setattr(results.subprocess, "run", lambda *_, **__: failed)
    assert score.main([str(make_job(tiny_set))]) == 1
    assert "There is no checkpoint" in capsys.readouterr().err


def test_a_job_on_real_particles_cannot_be_scored(tiny_set, capsys):
    (tiny_set.parents[1] / "real.star").write_text("")
    assert score.main([str(make_job(tiny_set, "real.star"))]) == 1
    assert "only simulated sets can be scored" in capsys.readouterr().err


@pytest.fixture
def judged_job(junk_set, monkeypatch) -> Path:
    """A job on the set with every nuisance whose result is true for good particles and nonsense for all others."""
    job, truth = make_job(junk_set), read_truth(junk_set)

    def export(command, **_):
        shutil.rmtree(job / "score", ignore_errors=True)
        write_result(truth, job / "score")
        for half in (1, 2):
            for name, rows in (("disp", "disp_index"), ("latent", "index")):
                values = np.load(job / f"score/{name}_half{half}.npy")
                values[~truth.is_judged[np.load(job / f"score/{rows}_half{half}.npy")]] = 1000
                np.save(job / f"score/{name}_half{half}.npy", values)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(results.subprocess, "run", export)
    return job


def write_quality(job, junk_set, quality, rows) -> None:
    """Write particles.star of the training with a quality, as the job does: any rows of the file that it was given."""
    table = read_particles(junk_set / "particles.star")
    (job / "forward_deformations").mkdir(exist_ok=True)
    write_particles(table, job / "forward_deformations/particles.star", rows=rows, rlnDynamightQuality=quality)


def test_motion_and_latents_are_judged_by_good_whole_particles_alone(judged_job, junk_set, capsys):
    report = judged_job / "score.json"
    assert score.main([str(judged_job), "--json", str(report)]) == 0
    out, truth = capsys.readouterr().out, read_truth(junk_set)
    assert "99.0% of the true motion" in out
    assert f"judged by good, whole particles at their pose: {truth.is_judged.sum()} of the 120" in out
    numbers = json.loads(report.read_text())
    half1 = truth.is_judged[truth.half == 1]
    assert numbers["latents"]["half1"]["particles"] == half1.sum()
    assert numbers["deformation"]["half1"]["particles"] == half1[::2].sum()
    assert "quality" not in numbers
    assert "Quality" not in out


def test_quality_is_judged_as_a_classifier(judged_job, junk_set, capsys):
    truth, rows = read_truth(junk_set), np.arange(5, 120)
    write_quality(judged_job, junk_set, np.where(truth.is_junk, 0.02, 0.97)[rows], rows)
    report = judged_job / "score.json"
    assert score.main([str(judged_job), "--json", str(report)]) == 0
    out, numbers = capsys.readouterr().out, json.loads(report.read_text())["quality"]
    assert "100.0% of pairs" in out
    assert "is calibrated" in out
    assert re.search(r"quality 0.95 to 1 +\d+ +0.970 +1.000", out)
    assert re.search("mean quality, speck +0.970", out)
    assert (numbers["auc"], numbers["junk"]) == (1, truth.is_junk[rows].sum())


def test_a_quality_that_promises_too_much_is_not_calibrated(judged_job, junk_set, capsys):
    write_quality(judged_job, junk_set, np.ones(120), np.arange(120))
    assert score.main([str(judged_job)]) == 0
    out = capsys.readouterr().out
    assert "50.0% of pairs" in out
    assert "IS NOT CALIBRATED" in out


def test_a_quality_that_is_none_is_refused(judged_job, junk_set, capsys):
    write_quality(judged_job, junk_set, np.full(120, 1.5), np.arange(120))
    assert score.main([str(judged_job)]) == 1
    assert "is 1.5 in row 1" in capsys.readouterr().err


def test_a_quality_of_other_particles_is_refused(judged_job, junk_set, capsys):
    write_quality(judged_job, junk_set, np.ones(120), np.arange(120))
    star = judged_job / "forward_deformations/particles.star"
    star.write_text(star.read_text().replace("External/job001/", "External/job007/"))
    assert score.main([str(judged_job)]) == 1
    assert "another particle set" in capsys.readouterr().err


def test_a_result_without_a_particle_that_can_be_judged_is_refused(junk_set, tmp_path, capsys):
    truth, folder = read_truth(junk_set), tmp_path / "result"
    write_result(truth, folder)
    junk = np.flatnonzero(truth.is_junk)
    np.save(folder / "index_half1.npy", junk)
    np.save(folder / "latent_half1.npy", np.zeros((len(junk), 2)))
    assert score.main(["--data", str(junk_set), "--result", str(folder)]) == 1
    assert "none can be judged" in capsys.readouterr().err
