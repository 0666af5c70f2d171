"""default_pipeline.star and job_pipeline.star <-> Pipeline."""

from __future__ import annotations

from pathlib import Path

from relion_jobs.pipeline.graph import Pipeline


def read(path: Path) -> Pipeline:
    """Read a pipeline file of RELION 3, 4 or 5."""
    raise NotImplementedError


def write(pipeline: Pipeline, path: Path) -> None:
    """Write a pipeline file whole or not at all, byte for byte as RELION 5 would."""
    raise NotImplementedError
