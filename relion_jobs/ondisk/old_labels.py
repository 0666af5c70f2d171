"""How RELION 3 and 4 named things, in the words of RELION 5."""

from __future__ import annotations

from relion_jobs.contract.labels import Status

# tables below this version hold RELION 4's node labels
NODE_LABELS_SINCE = 50001

STATUS_OF_NUMBER = dict(enumerate((Status.RUNNING, Status.SCHEDULED, Status.SUCCEEDED, Status.FAILED, Status.ABORTED)))

PROCESS_OF_NUMBER = {
    0: "relion.import",
    1: "relion.motioncorr",
    2: "relion.ctffind",
    3: "relion.manualpick",
    4: "relion.autopick",
    5: "relion.extract",
    7: "relion.select",
    8: "relion.class2d",
    9: "relion.class3d",
    10: "relion.refine3d",
    11: "relion.polish",
    12: "relion.maskcreate",
    13: "relion.joinstar",
    14: "relion.subtract",
    15: "relion.postprocess",
    16: "relion.localres",
    18: "relion.initialmodel",
    19: "relion.multibody",
    20: "relion.polish",
    21: "relion.ctfrefine",
    22: "dynamight",
    23: "modelangelo",
    99: "relion.external",
}

_NODE_LABELS_OF_4 = {
    "ParticlesData": "ParticleGroupMetadata",
    "MicrographMoviesData": "MicrographMovieGroupMetadata",
    "MicrographsData": "MicrographGroupMetadata",
    "MicrographsCoords": "MicrographCoordsGroup",
    "ImagesData": "Image2DGroupMetadata",
    "OptimisationSet": "TomoOptimisationSet",
    "TomogramData": "TomogramGroupMetadata",
    "TrajectoryData": "TomoTrajectoryData",
}


def process_label(number: int) -> str:
    """Return the type label of RELION 3's job number; job types that RELION has dropped become external jobs."""
    return PROCESS_OF_NUMBER.get(number, "relion.external")


def node_label(label: str, version: int) -> str:
    """Return a node label of a table of that version in RELION 5's words.

    Only the part before the first dot is translated; RELION replaces the text anywhere, so that a second translation gives
    ``TomoTomoOptimisationSet``.
    """
    if version >= NODE_LABELS_SINCE:
        return label
    first, dot, rest = label.partition(".")
    return _NODE_LABELS_OF_4.get(first, first) + dot + rest
