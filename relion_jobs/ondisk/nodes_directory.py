""".Nodes/: what RELION's browse buttons show. It is a cache: losing it breaks nothing but browsing."""

from __future__ import annotations

from pathlib import Path

from relion_jobs.pipeline.graph import Pipeline


def add_entries(project: Path, pipeline: Pipeline, name: str) -> list[str]:
    """Make the entries of a job's input and output nodes; returns the paths of outputs that do not exist."""
    raise NotImplementedError


def remove_entries(project: Path, pipeline: Pipeline, name: str) -> None:
    """Remove the entries of a job's outputs."""
    raise NotImplementedError


def remake(project: Path, pipeline: Pipeline) -> None:
    """Remove .Nodes/ and make it anew."""
    raise NotImplementedError
