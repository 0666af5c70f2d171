"""A file is the old one or the new one, whenever its writer dies."""

import os
import signal
import subprocess
import sys
import time

import pytest

from relion_jobs.ondisk import pipeline_star
from relion_jobs.ondisk.project import create
from relion_jobs.pipeline.graph import Pipeline

# the writer stops right before the step, and is killed there
KILLED_AT = """
import os, sys, time
from pathlib import Path
from relion_jobs.ondisk.atomic import write_whole

def stop(*_):
    print("there", flush=True)
    time.sleep(60)

setattr(os, sys.argv[1], stop)
write_whole(Path(sys.argv[2]), "new" * 100000)
"""

WRITES_FOR_EVER = """
import sys
from pathlib import Path
from relion_jobs.contract.nodes import Node
from relion_jobs.ondisk import pipeline_star
from relion_jobs.pipeline.graph import Pipeline

print("there", flush=True)
counter = 0
while True:
    counter += 1
    nodes = tuple(Node(f"a/{i}", "DensityMap.mrc") for i in range(counter % 50))
    pipeline_star.write(Pipeline(len(nodes), nodes=nodes), Path(sys.argv[1]))
"""


def start(code, *words):
    child = subprocess.Popen([sys.executable, "-c", code, *map(str, words)], stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "there\n"
    return child


def kill(child):
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_writer_killed_before_the_rename_leaves_the_old_file(tmp_path, step):
    (tmp_path / "a").write_text("old")
    kill(start(KILLED_AT, step, tmp_path / "a"))
    assert (tmp_path / "a").read_text() == "old"


def test_what_a_killed_writer_left_does_not_hinder_the_next(tmp_path):
    from relion_jobs.ondisk.atomic import write_whole

    (tmp_path / "a").write_text("old")
    kill(start(KILLED_AT, "replace", tmp_path / "a"))
    write_whole(tmp_path / "a", "new")
    assert (tmp_path / "a").read_text() == "new"


def test_a_reader_never_sees_a_part_of_a_pipeline(tmp_path):
    path = create(tmp_path) / "default_pipeline.star"
    pipeline_star.write(Pipeline(0), path)
    child = start(WRITES_FOR_EVER, path)
    seen = set()
    deadline = time.monotonic() + 2
    while time.monotonic() < deadline:
        pipeline = pipeline_star.read(path)
        assert len(pipeline.nodes) == pipeline.counter
        seen.add(pipeline.counter)
    kill(child)
    assert len(seen) > 3
    assert len(pipeline_star.read(path).nodes) == pipeline_star.read(path).counter
    # a killed writer may leave at most the one file that it was writing
    assert sum(name.endswith(".part") for name in os.listdir(tmp_path)) <= 1
