"""What the user chose for the visualization."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from relion_jobs.contract.options import Value


@dataclass(frozen=True)
class VisualizationOptions:
    """Options of the task; the sizes are ours and travel in other_args.

    Attributes
    ----------
    half_set
        1, 2, or 0: held-out particles with both halves' models.
    checkpoint_file
        Forward checkpoint; empty: the last.
    n_motions, n_frames, n_clusters, n_regions
        Main motions shown, states along each, clusters of particles, parts of the molecule in the table.
    embedding
        ``pca``, ``ica``, ``umap`` or ``raw``: how the latents are drawn in two dimensions.
    headless
        Write files though a window could be opened.
    particles_file, latents_file
        Lists of further states to write; empty: none.
    do_trajectory
        Write a movie through the listed states as well.
    seed, n_threads, gpu_id
        As in every task.
    """

    half_set: int
    checkpoint_file: str
    n_motions: int
    n_frames: int
    n_clusters: int
    n_regions: int
    embedding: str
    headless: bool
    particles_file: str
    latents_file: str
    do_trajectory: bool
    seed: int
    n_threads: int
    gpu_id: str

    @classmethod
    def from_values(cls, values: Mapping[str, Value]) -> VisualizationOptions:
        """Read the parsed options of job.star."""

        def number(name: str, default: int) -> int:
            value = values.get(name)
            return default if value is None else int(value)

        return cls(
            half_set=number("halfset", 1),
            checkpoint_file=str(values.get("fn_checkpoint") or ""),
            n_motions=number("n_motions", 2),
            n_frames=number("n_frames", 11),
            n_clusters=number("n_clusters", 4),
            n_regions=number("n_regions", 8),
            embedding=str(values.get("embedding") or "pca"),
            headless=bool(values.get("headless")),
            particles_file=str(values.get("particles_file") or ""),
            latents_file=str(values.get("latents_file") or ""),
            do_trajectory=bool(values.get("do_trajectory")),
            seed=number("seed", 1),
            n_threads=number("nr_threads", 1),
            gpu_id=str(values.get("gpu_id") or ""),
        )
