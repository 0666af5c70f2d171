"""The process that reads damaged files: one line in, the reader and the file; one line out, what came of it.

It may take 1 GB more than it has at its start and 20 s for a file; what takes longer ends the process.
"""

from __future__ import annotations

import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from jobtypes.common.image_stacks import read_layout
from jobtypes.common.particles import read_particles
from jobtypes.common.volumes import read_volume
from relion_jobs.contract.errors import UserError
from relion_jobs.ondisk import job_star, pipeline_star
from relion_jobs.pipeline.schedule import decide
from relion_jobs.running.registry import registry
from relion_jobs.running.sentences import sentence
from relion_jobs.running.settings import read_settings
from relion_jobs.schemes import scheme_star

SECONDS = 20
BYTES = 1 << 30


def main() -> None:
    """Read what is asked for until the input ends."""
    readers = make_readers()
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + BYTES, size + BYTES))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    for line in sys.stdin:
        kind, _, name = line.rstrip("\n").partition(" ")
        signal.alarm(SECONDS)
        begin = time.process_time()
        outcome = read(readers[kind], Path(name))
        signal.alarm(0)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        sys.stdout.write(f"{time.process_time() - begin:.4f} {memory} {outcome}\n")
        sys.stdout.flush()


def make_readers() -> dict[str, Callable[[Path], object]]:
    """What is done with a file of each kind."""
    dynamight = registry().find("dynamight")

    def read_job(path: Path) -> object:
        request = job_star.read(path)
        return read_settings(dynamight, request.values, is_continue=request.is_continue)

    def read_pipeline(path: Path) -> object:
        pipeline = pipeline_star.read(path)
        # tables without rows are not written, as in RELION
        tables = tuple(table for table in pipeline.foreign_tables if table.rows)
        columns = tuple(column for column in pipeline.foreign_columns if column.values)
        pipeline = replace(pipeline, foreign_tables=tables, foreign_columns=columns)
        beside = path.with_name("written.star")
        pipeline_star.write(pipeline, beside)
        assert pipeline_star.read(beside) == pipeline, "what was read comes back otherwise when it is written"
        return decide(pipeline, lambda name: True)

    return {
        "job": read_job,
        "pipeline": read_pipeline,
        "scheme": lambda path: scheme_star.read(path.parents[2], path.parent.name),
        "particles": read_particles,
        "map": read_volume,
        "stack": lambda path: read_layout(path, f"image stack {path}").map().sum(),
    }


def read(reader: Callable[[Path], object], path: Path) -> str:
    """``result``, ``refused SENTENCE`` or ``broken TRACEBACK`` in one line."""
    try:
        reader(path)
    except UserError as error:
        text = sentence(error)
        if not text.isprintable() or not text.endswith((".", ")")) or len(text) > 1000:
            return f"broken: no sentence: {text!r}"
        return f"refused {text}"
    except BaseException as error:  # noqa: BLE001 - whatever else it is, it is what the campaign looks for
        return "broken " + " | ".join("".join(traceback.format_exception(error)).split("\n")[-6:])
    return "result"


if __name__ == "__main__":
    main()
