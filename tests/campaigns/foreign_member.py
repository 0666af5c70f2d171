"""A program that is not ours in a crowd: RELION's lock protocol and nothing else; imports nothing of this repository.

Source: RELION 5 (``PipeLine::read`` and ``write`` with do_lock): mkdir, a file inside, 21 looks, the pipeline written in place.
"""

from __future__ import annotations

import os
import re
import sys
import time
from pathlib import Path

# 21 looks with 3 s between
WAIT_SECONDS = 63.0


def main(project: Path, number: str, jobs: int, poll_seconds: float) -> None:
    """Add `jobs` jobs and finish them."""
    os.chdir(project)
    for _ in range(jobs):
        _lock(f"addJob by foreign {number}", poll_seconds)
        text = Path("default_pipeline.star").read_text()
        counter = int(re.search(r"_rlnPipeLineJobCounter\s+(\d+)", text)[1])
        name = f"External/job{counter:03d}/"
        Path(name).mkdir(parents=True)
        Path(name, f"claimed_by_{number}").touch()
        _write_and_unlock(_with_row(text, name, counter))
        _lock(f"finish by foreign {number}", poll_seconds)
        text = Path("default_pipeline.star").read_text()
        _write_and_unlock(re.sub(rf"(?m)^(\s*{name} .*) Running", r"\1 Succeeded", text))


def _lock(message: str, poll_seconds: float) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        try:
            os.mkdir(".relion_lock", 0o700)
        except FileExistsError:
            time.sleep(poll_seconds)
        else:
            Path(".relion_lock/lock_default_pipeline.star").write_text(message)
            return
    raise SystemExit(f"{message}: the lock was not found free within {WAIT_SECONDS:g} s")


def _with_row(text: str, name: str, counter: int) -> str:
    text = re.sub(r"(_rlnPipeLineJobCounter\s+)\d+", rf"\g<1>{counter + 1}", text)
    before, processes, after = text.partition("data_pipeline_processes")
    rows, blank, rest = after.partition("\n \n")
    return f"{before}{processes}{rows}\n{name}       None relion.external    Running {blank}{rest}"


def _write_and_unlock(text: str) -> None:
    with open("default_pipeline.star", "w") as file:
        file.write(text[: len(text) // 2])
        file.flush()
        # RELION's stream is flushed in pieces too
        time.sleep(0.001)
        file.write(text[len(text) // 2 :])
    os.unlink(".relion_lock/lock_default_pipeline.star")
    os.rmdir(".relion_lock")
    Path(".pipeline_has_changed").touch()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
