"""Tool `subset`: particles chosen by latent, motion, cluster, polygon or displacement, as a STAR file for RELION."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

from jobtypes.common.conventions import HALVES
from jobtypes.common.job_paths import find_job, job_at_rest, working_directory
from jobtypes.dynamight import layout
from jobtypes.dynamight.options import EMBEDDINGS, VisualizationOptions

UIDS_OF_STAR = Path("-")  # in place of a .cs file


def main(argv: Sequence[str]) -> int:
    """Write the subset that the arguments describe, and register it; returns the exit code 0."""
    arguments = parser().parse_args(list(argv))
    for name in ("polygon", "rows", "checkpoint_file", "uids"):
        if getattr(arguments, name) not in (None, UIDS_OF_STAR):
            setattr(arguments, name, getattr(arguments, name).absolute())
    project, directory = find_job(arguments.job_directory)
    with job_at_rest(project, directory) as register, working_directory(project):
        from jobtypes.common.cryosparc_uids import write_uids
        from jobtypes.common.tilt_stacks import optimisation_set_beside
        from jobtypes.dynamight.model.result import load_centred_result, particles_of
        from jobtypes.dynamight.outputs import register_particles
        from jobtypes.dynamight.visualization.choice import Choice, chosen_rows
        from jobtypes.dynamight.visualization.selection import write_subset

        choice = Choice(**{name: getattr(arguments, name) for name in Choice.__dataclass_fields__})
        forward = load_centred_result(directory, str(arguments.checkpoint_file or ""))
        table = particles_of(forward, project)
        rows = chosen_rows(forward, choice, directory, table)
        path = write_subset(table, directory, rows, None if choice.both_halves and choice.half_set else choice.half_set)
        register_particles(path, register)
        if arguments.uids is not None:
            uids = path.with_suffix(".uids.txt")
            write_uids(table, rows, uids, None if arguments.uids == UIDS_OF_STAR else arguments.uids)
            _say(f"Wrote their uids in cryoSPARC to {uids}.")
    first, second = ((table.half[rows] == half).sum() for half in HALVES)
    _say(f"Wrote {len(rows)} of {len(table)} particles to {path}: {first} of half set 1 and {second} of half set 2.")
    if table.tilts is not None:
        _say(f"RELION's tomography jobs take them as {optimisation_set_beside(path)}.")
    if not (first and second):
        _say("A refinement, or another job of this type, needs particles of both half sets.")
    return 0


def _say(sentence: str) -> None:
    sys.stdout.write(sentence + "\n")


def _end(text: str) -> float:
    """One end of a range; argparse turns the ValueError of anything else into its sentence."""
    return {"min": -math.inf, "max": math.inf}.get(text) or float(text)


def parser() -> argparse.ArgumentParser:
    """Arguments of the tool; those of a choice have the names of `choice.Choice`."""
    arguments = argparse.ArgumentParser(
        prog="relion_jobs_dynamight subset",
        description=f"Write the particles that fulfil all conditions to JOB_DIR/{layout.SUBSETS}/: their rows as they "
        "are in the job's STAR file, with its optics table. An open end of a range is 'min' or 'max'.",
    )
    in_job, add = VisualizationOptions.from_values({}), arguments.add_argument
    add("job_directory", metavar="JOB_DIR", help="e.g. DynaMight/job002/")
    add("--half-set", type=int, choices=(0, 1, 2), default=1, help="half set, in whose latent space is chosen; 0: only held-out "
        "particles, of both halves, chosen in the latent space of half 1")  # fmt: skip
    add("--both-halves", action=argparse.BooleanOptionalAction, default=True, help="also those particles of the other half whose "
        "state is that of a chosen one (default); a refinement needs both half sets")  # fmt: skip
    add("--latent", nargs=3, type=_end, action="append", default=[], dest="latents", metavar=("DIMENSION", "FROM", "TO"),
        help="range of a latent dimension, counted from 1; may be repeated")  # fmt: skip
    add("--motion", nargs=3, type=_end, action="append", default=[], dest="motions", metavar=("MOTION", "FROM", "TO"),
        help="range in A along a main motion, counted from 1; may be repeated")  # fmt: skip
    add("--displacement", nargs=2, type=_end, metavar=("FROM", "TO"), help="range of the rms displacement in A")
    add("--quality", nargs=2, type=_end, metavar=("FROM", "TO"), help="range of the quality, 0 to 1: the probability that a "
        "particle is the molecule at its pose")  # fmt: skip
    add("--occupancy", nargs=3, type=_end, action="append", default=[], dest="occupancies", metavar=("PART", "FROM", "TO"),
        help="range of the probability, 0 to 1, that a particle has a part which others lack; may be repeated")  # fmt: skip
    add("--error", nargs=2, type=_end, metavar=("FROM", "TO"), help="range of the disagreement of the halves in A (half set 0)")
    add("--cluster", nargs="+", type=int, default=[], dest="clusters", metavar="NUMBER", help="clusters, as in the figure of the "
        "latent space")  # fmt: skip
    add("--n-clusters", type=int, metavar="N", help="divide the particles anew into so many clusters")
    add("--polygon", type=Path, metavar="FILE", help="text file with the corners of a polygon, x and y in each line")
    add("--embedding", default=in_job.embedding, choices=EMBEDDINGS, help="drawing in which the polygon lies")
    add("--axes", nargs=2, type=int, default=(1, 2), metavar=("X", "Y"), help="main motions (pca) or latent dimensions (raw) of "
        "the polygon's axes, counted from 1")  # fmt: skip
    add("--rows", type=Path, metavar="FILE", help="text file with the number of a particle in each line, 1 for the first of the "
        "job's STAR file, as the page of the job saves it; or a STAR file with some of the particles")  # fmt: skip
    add("--uids", type=Path, nargs="?", const=UIDS_OF_STAR, metavar="FILE.cs", help="for particles of cryoSPARC: also list their "
        "uids, as the .cs file has them that the STAR file was made of; without a file those of its column _ucsfUid")  # fmt: skip
    add("--checkpoint-file", type=Path, metavar="C", help="checkpoint of the forward deformations (default: the last)")
    add("--seed", type=int, default=in_job.seed, help="of clusters, umap and ica (default %(default)s, as in the job)")
    return arguments
