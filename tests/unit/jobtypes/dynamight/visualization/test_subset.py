from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from jobtypes.common.checkpoints import load_checkpoint, save_checkpoint
from jobtypes.common.particles import read_particles
from jobtypes.common.star_tables import read_tables
from jobtypes.dynamight.model.result import FORMAT_VERSION, KIND, load_centred_result
from jobtypes.dynamight.visualization import task
from jobtypes.dynamight.visualization.session import Session
from jobtypes.dynamight.visualization.subset import main
from relion_jobs.contract.errors import LockTimeout, UserError
from relion_jobs.contract.labels import Status
from relion_jobs.contract.nodes import Node
from relion_jobs.ondisk.locks import job_lock
from relion_jobs.ondisk.project import create, edit_pipeline, read_pipeline
from relion_jobs.pipeline.graph import Process

JOB = "DynaMight/job002/"
FIRST, BOTH = (Path(JOB) / "subsets" / name for name in ("subset_001_half1.star", "subset_001.star"))
ONE = "--no-both-halves"


@pytest.fixture
def job(flexible_job):
    """The trained job as a project whose pipeline knows it."""
    create(flexible_job.project)
    with edit_pipeline(flexible_job.project, "test") as edit:
        edit.pipeline = replace(edit.pipeline, processes=(Process(JOB, None, "dynamight", Status.SUCCEEDED),))
    return flexible_job


@pytest.fixture
def session(job) -> Session:
    return Session(job.directory, load_centred_result(job.directory), 1)


def rows_of(path: Path) -> list[int]:
    return [int(line.split("@")[0]) - 1 for line in path.read_text().splitlines() if "@stack" in line]


def test_a_range_of_a_motion_takes_the_particles_in_it_with_all_columns(job, session: Session) -> None:
    assert main([JOB, ONE, "--motion", "1", "0.5", "max"]) == 0
    expected = np.sort(session.part.rows[session.coordinates[:, 0].numpy() >= 0.5])
    assert rows_of(FIRST) == expected.tolist()
    original = [line.split() for line in Path("particles.star").read_text().splitlines()]
    written = [line.split() for line in FIRST.read_text().splitlines()]
    assert [line for line in written if line and "@" in line[0]] == [
        line for line in original if line and "@" in line[0] and int(line[0].split("@")[0]) - 1 in expected
    ]
    assert [line for line in original if line and line[0].startswith("_")] == [
        line[:1] for line in written if line and line[0].startswith("_")
    ]
    assert read_tables(FIRST)["optics"].row(0).split() == read_tables("particles.star")["optics"].row(0).split()


def test_conditions_are_all_fulfilled(job, session: Session) -> None:
    Path("corners.txt").write_text("# x y\n-1 -9\n9, -9\n9 9\n-1 9\n")
    main([JOB, ONE, "--polygon", "corners.txt", "--displacement", "1", "4", "--latent", "2", "min", "1"])
    x, moved = session.coordinates[:, 0].numpy(), session.part.rms_displacement.numpy()
    chosen = (x > -1) & (moved >= 1) & (moved <= 4) & (session.part.latent_mean[:, 1].numpy() <= 1)
    assert rows_of(FIRST) == np.sort(session.part.rows[chosen]).tolist()


def test_particles_are_chosen_by_what_they_lack(job_with_parts, job) -> None:
    assert main([JOB, "--occupancy", "1", "0", "0.5"]) == 0
    part = load_centred_result(job.directory).halves[1]
    other = load_centred_result(job.directory).halves[2]
    assert rows_of(BOTH) == np.sort(np.concatenate((part.rows[::3], other.rows[::3]))).tolist()


def test_a_part_that_was_not_found_is_refused(job) -> None:
    with pytest.raises(UserError, match="no part 2 that some particles lack; found were: none"):
        main([JOB, "--occupancy", "2", "0", "0.5"])


def with_qualities(quality: torch.Tensor) -> None:
    """Give the particles of half 1 these qualities (30,), and those of half 2 the same the other way round."""
    path = Path(JOB) / "forward_deformations/checkpoints/checkpoint_final.pth"
    content = load_checkpoint(path, kind=KIND, version=FORMAT_VERSION)
    content["halves"][1]["model"]["quality.probability"] = quality
    content["halves"][2]["model"]["quality.probability"] = quality.flip(0)
    save_checkpoint(path, content, kind=KIND, version=FORMAT_VERSION)


def test_particles_of_both_halves_are_chosen_by_their_own_quality_and_displacement(job, session: Session) -> None:
    quality = torch.linspace(0, 1, len(session.part.rows))
    with_qualities(quality)
    part, other = load_centred_result(job.directory).halves.values()
    assert main([JOB, "--quality", "0.75", "max"]) == 0
    good = np.concatenate((part.rows[quality.numpy() >= 0.75], other.rows[quality.flip(0).numpy() >= 0.75]))
    assert rows_of(BOTH) == np.sort(good).tolist()
    main([JOB, "--displacement", "2.5", "max"])
    moved = [half.rows[half.rms_displacement.numpy() >= 2.5] for half in (part, other)]
    assert rows_of(BOTH.with_name("subset_002.star")) == np.sort(np.concatenate(moved)).tolist()


def test_clusters_are_numbered_as_in_the_figures(job, session: Session) -> None:
    main([JOB, ONE, "--cluster", "2", "--n-clusters", "3"])
    assert rows_of(FIRST) == session.part.rows[session.clusters(3, 1).labels == 1].tolist()


def test_clusters_of_an_earlier_visualization_are_kept(job, session: Session) -> None:
    task.run({"headless": True, "n_motions": 0, "n_clusters": 2}, job)
    main([JOB, ONE, "--cluster", "1"])
    assert rows_of(FIRST) == session.part.rows[session.clusters(2, 1).labels == 0].tolist()


def test_both_halves_are_taken_and_counted(job, session: Session, capsys: pytest.CaptureFixture[str]) -> None:
    main([JOB, "--motion", "1", "0", "max"])
    halves = read_particles(BOTH).half  # which refuses a file of one half
    first, second = ((halves == half).sum() for half in (1, 2))
    assert first == (session.coordinates[:, 0] >= 0).sum()
    assert 0 < second < 30
    assert f"to {BOTH}: {first} of half set 1 and {second} of half set 2." in capsys.readouterr().out
    main([JOB, "--motion", "1", "0", "max", "--both-halves", "--half-set", "2"])
    assert set(read_particles(BOTH.with_name("subset_002.star")).half) == {1, 2}


def test_a_subset_of_one_half_says_what_it_does_not_do_for(job, capsys: pytest.CaptureFixture[str]) -> None:
    main([JOB, ONE, "--motion", "1", "0", "max"])
    assert "and 0 of half set 2.\nA refinement, or another job of this type, needs particles of both" in capsys.readouterr().out
    with pytest.raises(UserError, match="no particle is in half 2"):
        read_particles(FIRST)


def test_a_half_that_is_its_own_other_chooses_the_same_particles(job, session: Session) -> None:
    session.forward.halves[2] = session.part
    chosen = session.coordinates[:, 0].numpy() > 0
    assert session.of_other_half(chosen).tolist() == session.part.rows[chosen].tolist()


def test_half_set_0_is_the_held_out_particles_of_both(job, session: Session) -> None:
    main([JOB, "--half-set", "0"])
    held_out = np.concatenate([part.rows[part.held_out] for part in session.forward.halves.values()])
    assert rows_of(Path(JOB) / "subsets/subset_001_half0.star") == np.sort(held_out).tolist()


def test_a_subset_becomes_an_output_of_the_job(job) -> None:
    main([JOB, "--motion", "1", "0", "max"])
    assert Node(str(BOTH), "ParticleGroupMetadata.star.relion.dynamight") in read_pipeline(job.project).outputs_of(JOB)
    assert str(BOTH) in (job.directory / "RELION_OUTPUT_NODES.star").read_text()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "No condition is given"),
        (["--motion", "1", "500", "600"], "No particle fulfils all conditions; half 1 lies between"),
        (["--motion", "9", "0", "1"], "There is no main motion 9; the job has"),
        (["--latent", "1.5", "0", "1"], "There is no latent dimension 1.5; the job has 2"),
        (["--latent", "1", "2", "1"], "goes from 2 to 1; give the lower end first"),
        (["--cluster", "9"], "There is no cluster 9; they are numbered from 1 to 4"),
        (["--error", "0", "1"], "held-out particles only"),
        (["--polygon", "nothing.txt"], r"nothing.txt cannot be read \(No such file"),
        (["--latent", "1", "0", "1", "--checkpoint-file", "nothing.pth"], "does not exist"),
    ],
)
def test_bad_conditions_are_refused_in_words(job, words: list[str], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        main([JOB, *words])
    assert not (Path(JOB) / "subsets").exists()


def test_a_running_job_is_left_alone(job) -> None:
    with job_lock(job.project / JOB), pytest.raises(LockTimeout, match="is being run by"):
        main([JOB, "--motion", "1", "0", "max"])


@pytest.mark.relion
@pytest.mark.skipif(shutil.which("relion_reconstruct") is None, reason="needs Debian's relion package")
def test_relion_reconstructs_a_subset(job) -> None:
    main([JOB, "--displacement", "1", "max"])
    command = ["relion_reconstruct", "--i", str(BOTH), "--o", "map.mrc", "--ctf"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert Path("map.mrc").is_file()


def test_a_subset_lists_the_uids_of_particles_that_came_from_cryosparc(job, session: Session) -> None:
    count = sum(len(part.rows) for part in session.forward.halves.values())
    content = np.zeros(count, dtype=[("uid", "<u8"), ("blob/path", "S40"), ("blob/idx", "<u4")])
    content["uid"] = np.arange(2**63, 2**63 + count, dtype=np.uint64)[::-1]
    content["blob/path"], content["blob/idx"] = b">stack.mrcs", np.arange(count)
    with Path("particles.cs").open("wb") as file:
        np.save(file, content)
    assert main([JOB, "--motion", "1", "0.5", "max", "--uids", "particles.cs"]) == 0
    written = [int(line) for line in BOTH.with_suffix(".uids.txt").read_text().splitlines()]
    assert written == [2**63 + count - 1 - row for row in rows_of(BOTH)]
    with pytest.raises(UserError, match="no column _ucsfUid"):
        main([JOB, "--motion", "1", "0.5", "max", "--uids"])


def test_a_list_of_numbers_takes_these_particles_and_those_of_the_other_half_that_are_like_them(job, session: Session) -> None:
    numbers = (session.part.rows[[3, 8]] + 1).tolist()
    Path("rows.txt").write_text("# of the page\n" + "\n".join(map(str, numbers)))
    assert main([JOB, ONE, "--rows", "rows.txt"]) == 0
    assert rows_of(FIRST) == [number - 1 for number in numbers]
    assert main([JOB, "--rows", "rows.txt"]) == 0
    chosen = np.isin(session.part.rows, session.part.rows[[3, 8]])
    both = np.sort(np.concatenate((session.part.rows[chosen], session.of_other_half(chosen))))
    assert rows_of(Path(JOB) / "subsets/subset_002.star") == both.tolist()


def test_a_list_that_names_particles_of_both_half_sets_takes_exactly_these(job) -> None:
    Path("rows.txt").write_text("1\n2\n4\n")
    assert main([JOB, "--rows", "rows.txt"]) == 0
    assert rows_of(BOTH) == [0, 1, 3]
