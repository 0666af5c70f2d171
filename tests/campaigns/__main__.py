"""``python -m tests.campaigns``: all campaigns in full, or those that are named, and their figures."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import mkdtemp


def crowd(folder: Path, *, sample: bool) -> object:
    """16 processes, 50 jobs each."""
    from tests.campaigns.crowd import run_crowd

    size = (4, 4) if sample else (16, 50)
    return run_crowd(folder, processes=size[0], jobs_each=size[1], foreign_poll_seconds=0.05)


def sweeps(folder: Path, *, sample: bool) -> object:
    """A schedule, one that adds jobs and a foreign program, for a minute."""
    from tests.campaigns.sweeps import run_sweeps

    return run_sweeps(folder, seconds=2.0 if sample else 60.0)


def kills(folder: Path, *, sample: bool) -> object:
    """200 kills of commands and of their jobs."""
    from tests.campaigns.kills import run_kills

    return run_kills(folder, count=20 if sample else 200)


def fuzz(folder: Path, *, sample: bool) -> object:
    """50,000 damaged files."""
    from tests.campaigns.fuzz import run_fuzz

    return run_fuzz(folder, count=2004 if sample else 50004)


def training(folder: Path, *, sample: bool) -> object:
    """A training killed 20 times."""
    from tests.campaigns.killed_training import run_killed_training

    counts = {"kills": 20, "inside": 8, "in_last_stage": 4, "epochs": 80}
    if sample:
        counts = {"kills": 5, "inside": 2, "in_last_stage": 2, "epochs": 12}
    return run_killed_training(folder, **counts)


CAMPAIGNS: dict[str, Callable[..., object]] = {
    "crowd": crowd,
    "sweeps": sweeps,
    "kills": kills,
    "fuzz": fuzz,
    "training": training,
}


def main() -> None:
    """Run what is asked for; the exit code is not 0 where anything was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaigns", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*CAMPAIGNS, []], metavar="CAMPAIGN", help=", ".join(CAMPAIGNS))
    parser.add_argument("--sample", action="store_true", help="the size that the tests run")
    words = parser.parse_args()
    failed = False
    for name in words.names or CAMPAIGNS:
        folder = Path(mkdtemp(prefix=f"{name}_"))
        begin = time.monotonic()
        try:
            outcome = CAMPAIGNS[name](folder, sample=words.sample)
        except AssertionError as error:
            failed, outcome = True, f"FAILED, see {folder}: {error}"
        sys.stdout.write(f"{name} ({time.monotonic() - begin:.0f} s): {outcome}\n")
        sys.stdout.flush()
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
