"""The command ``relion_jobs demo``: a whole project on simulated particles, from nothing to sharpened half maps and a verdict."""

from __future__ import annotations

import argparse
import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from relion_jobs.contract.errors import RelionJobsError, UserError

EXPLAINED_AT_LEAST = 0.8
SIMULATION, FLEXIBILITY = "External/job001/", "DynaMight/job002/"
PAGE = f"{FLEXIBILITY}visualization/explore.html"
PICTURES = (
    (f"{FLEXIBILITY}logfile.pdf", "all figures of the DynaMight job"),
    (f"{SIMULATION}simulation.png", "the simulated molecule and some of its images"),
    (f"{FLEXIBILITY}visualization", "states along the main motions: maps, ChimeraX scripts, animations"),
    (f"{FLEXIBILITY}backprojection/map_half1.mrc", "deformed half map; the rigid one is rigid_half1.mrc beside it"),
)


def main(argv: list[str]) -> int:
    """Run the command; 0 when the motion was found, 1 when a job failed or too little of the motion is explained."""
    arguments = _parser().parse_args(argv)
    start = time.monotonic()
    try:
        project = _new_project(Path(arguments.directory) if arguments.directory else _free_name("demo"))
        for step in _steps(arguments.preset, arguments.gaussians, arguments.threads):
            _run(project, step)
        explained = _score(project)
    except RelionJobsError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    minutes = (time.monotonic() - start) / 60
    lines = [f"\nThis took {minutes:.1f} minutes. Open in {project}:"]
    lines += [f"  {name:46s} {what}" for name, what in PICTURES if (project / name).exists()]
    if (project / PAGE).exists():
        lines.append(f"Everything in one page: open {project / PAGE} in a browser.")
    sys.stdout.write("\n".join(lines) + "\n")
    return explained


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="relion_jobs demo", description=__doc__)
    parser.add_argument(
        "directory", nargs="?", help="project directory to make (default: demo, or demo2, demo3 ... if it is taken)"
    )
    parser.add_argument("--preset", default="quick", help="preset of the simulation (default: quick)")
    parser.add_argument("--gaussians", type=int, default=2000, help="number of Gaussians (default 2000)")
    parser.add_argument("--threads", type=int, default=min(4, os.cpu_count() or 1), help="threads (default: up to 4)")
    return parser


def _free_name(stem: str) -> Path:
    """``demo``, or the first of demo2, demo3 ... that does not exist, so that the same command can be run again."""
    names = (Path(stem if number == 1 else f"{stem}{number}") for number in itertools.count(1))
    return next(name for name in names if not name.exists())


def _new_project(directory: Path) -> Path:
    if directory.exists() and any(directory.iterdir()):
        raise UserError(f"{directory} is there already; name another directory, or remove it to start again.")
    directory.mkdir(parents=True, exist_ok=True)
    return directory.resolve()


def _steps(preset: str, gaussians: int, threads: int) -> list[list[str]]:
    """The command lines that a user would type, one after the other."""

    def options(**values: object) -> list[str]:
        return [word for name, value in values.items() for word in ("-o", f"{name}={value}")]

    inputs = {"fn_star": f"{SIMULATION}particles.star", "fn_map": f"{SIMULATION}consensus.mrc"}
    off = {"do_visualize": "No", "do_inverse": "No", "do_reconstruct": "No"}
    return [
        ["init", "."],
        ["new", "simulate", *options(preset=preset, nr_threads=threads)],
        ["run", SIMULATION],
        ["new", "dynamight", *options(**inputs, nr_gaussians=gaussians, nr_threads=threads)],
        ["run", FLEXIBILITY],
        ["continue", FLEXIBILITY, *options(**(off | {"do_inverse": "Yes"}))],
        ["continue", FLEXIBILITY, *options(**(off | {"do_reconstruct": "Yes"}))],
        ["continue", FLEXIBILITY, *options(**(off | {"do_visualize": "Yes", "headless": "Yes"}))],
    ]


def _run(project: Path, words: list[str]) -> None:
    """One command of ours in the project, its output passed on."""
    sys.stdout.write(f"\n$ relion_jobs {' '.join(words)}\n")
    sys.stdout.flush()
    done = subprocess.run([sys.executable, "-m", "relion_jobs", *words], cwd=project, check=False)
    if done.returncode == 128 + signal.SIGPIPE:
        # nobody reads what the command says, nor what this one would say of it
        raise BrokenPipeError
    if done.returncode != 0:
        raise UserError(f"relion_jobs {words[0]} ended with exit code {done.returncode}; its messages are above.")


def _score(project: Path) -> int:
    """Compare with the truth; the exit code says whether enough of the motion is explained."""
    words = ["score", FLEXIBILITY, "--at-least", str(EXPLAINED_AT_LEAST), "--json", f"{FLEXIBILITY}score.json"]
    sys.stdout.write(f"\n$ relion_jobs {' '.join(words)}\n")
    sys.stdout.flush()
    return subprocess.run([sys.executable, "-m", "relion_jobs", *words], cwd=project, check=False).returncode
