"""Files that jobs eat and produce, as the pipeline knows them."""

from __future__ import annotations

from dataclasses import dataclass

PARTICLES = "ParticleGroupMetadata.star.relion"
DENSITY_MAP = "DensityMap.mrc"
MASK = "Mask3D.mrc"
LOGFILE = "LogFile.pdf.relion"


@dataclass(frozen=True)
class Node:
    """One file of the pipeline.

    Attributes
    ----------
    path
        Relative to the project directory, e.g. ``DynaMight/job002/backprojection/map_half1.mrc``.
    label
        Node type, e.g. ``DensityMap.mrc.relion.halfmap.dynamight``.
    depth
        Dot-parts of the label that RELION's file browser shows as folders.
    """

    path: str
    label: str
    depth: int = 1
