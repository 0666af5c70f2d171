"""A sample of each campaign; the figures of the full ones are in docs/measured.md."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", ["crowd", "sweeps", "kills", "fuzz", "training"])
def test_a_sample_finds_nothing(name, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "tests.campaigns", name, "--sample"],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "RELION_JOBS_SITE": "", "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
