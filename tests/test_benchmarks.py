"""The benchmarks run and print every part. No time is judged here."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.mark.parametrize(
    ("script", "sizes", "parts"),
    [
        (
            "forward.py",
            "--particles 40 --box 32 --gaussians 60 --batch 8 --baseline-steps 1",
            ["decoder", "projection", "FFT", "loss and strain", "backward, optimiser", "calibration", "published", "floor"],
        ),
        (
            "backprojection.py",
            "--particles 40 --box 32 --gaussians 60 --baseline-particles 1",
            ["ours, per particle", "once per bin", "per bin and iteration", "published, per particle"],
        ),
        (
            "reconstruction.py",
            "--box 24 --particles 40 --bins 2 --threads 1 --run 2 --run-particles 40 --processor-time",
            ["bin, product", "bin, map pushed", "image, summed", "Time: about", "run whole"],
        ),
        (
            "viewer.py",
            "--particles 500 --box 32 --gaussians 200 --threads 1",
            ["click to new surface", "marching cubes", "plot, log density"],
        ),
        (
            "gpu.py",
            "--device cpu --small --threads 1",
            ["training of a half set", "step: FFT", "inverse", "reconstruction", "map pulled", "Every result is as on the CPU"],
        ),
        ("few_particles.py", "--particles 1 12 --box 24", ["from the verdict's map", "from zero", "relion_reconstruct"]),
        (
            "processes.py",
            "--particles 60 --box 32 --gaussians 60 --batch 8 --processes 1 2",
            ["of each processor", "exchange", "64 processes of 8 machines"],
        ),
        (
            "growth.py",
            "--particles 60 90 --boxes 32 --gaussians 60 --groups 1 3 --usual 60 32 60 1 --processor-time "
            "--tilts 2 4 --tilt-boxes --tilt-particles --usual-tilts 20 32 60 1 2",
            ["By particles", "By box", "By gaussians", "By groups", "By tilts", "last stage", "a step, MB", "exponent"],
        ),
        ("reading.py", "--stacks 3 --particles 20 --repeats 1", ["order of the table", "order on disk", "opens"]),
        ("runner.py", "--jobs 3 --repeats 1", ["--version", "status, 3 jobs", "new simulate"]),
    ],
)
def test_a_benchmark_runs_and_prints_its_parts(tmp_path: Path, script: str, sizes: str, parts: list[str]):
    done = subprocess.run(
        [sys.executable, "-W", "error", FOLDER / script, *sizes.split()],
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert [part for part in parts if part not in done.stdout] == []
    assert list(tmp_path.iterdir()) == []
