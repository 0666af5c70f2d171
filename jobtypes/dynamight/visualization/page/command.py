"""Tool `page`: everything that was learned in one file, which any browser opens and anybody can be sent."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from jobtypes.common.job_paths import find_job, job_at_rest, working_directory
from jobtypes.dynamight import layout
from jobtypes.dynamight.options import EMBEDDINGS, VisualizationOptions


def main(argv: Sequence[str]) -> int:
    """Write the page of a job, and register it; returns the exit code 0."""
    arguments = _parser().parse_args(list(argv))
    checkpoint = str(arguments.checkpoint_file.absolute()) if arguments.checkpoint_file else ""
    project, directory = find_job(arguments.job_directory)
    with job_at_rest(project, directory) as register, working_directory(project):
        from jobtypes.dynamight.model.result import load_centred_result
        from jobtypes.dynamight.visualization.page.assembling import write_page
        from jobtypes.dynamight.visualization.page.contents import page_content

        forward = load_centred_result(directory, checkpoint)
        content = page_content(
            forward, directory, embedding=arguments.embedding, n_clusters=arguments.n_clusters, seed=arguments.seed
        )
        path = directory / layout.PAGE
        write_page(content, path)
        register(path, layout.PAGE_LABEL)
    size = (project / path).stat().st_size / 1e6
    sys.stdout.write(f"Wrote {path} ({size:.1f} MB); open it in a browser.\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    in_job = VisualizationOptions.from_values({})
    parser = argparse.ArgumentParser(
        prog="relion_jobs_dynamight page",
        description=f"Write JOB_DIR/{layout.PAGE}: molecule, latent space, motions and figures in one file that a browser opens "
        "without a server or a network.",
    )
    parser.add_argument("job_directory", metavar="JOB_DIR", help="e.g. DynaMight/job002/")
    parser.add_argument("--embedding", default=in_job.embedding, choices=EMBEDDINGS, help="umap or ica: also draw the latent "
        "space so (default: by main motions and latents)")  # fmt: skip
    parser.add_argument("--n-clusters", type=int, default=in_job.n_clusters, metavar="N", help="clusters (default %(default)s)")
    parser.add_argument(
        "--checkpoint-file", type=Path, metavar="C", help="checkpoint of the forward deformations (default: the last)"
    )
    parser.add_argument(
        "--seed", type=int, default=in_job.seed, help="of clusters, umap and ica (default %(default)s, as in the job)"
    )
    return parser
