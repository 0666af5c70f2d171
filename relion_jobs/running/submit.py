"""Starts the process of a prepared job: a child of this one, or a script handed to a queue."""

from __future__ import annotations

import math
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from relion_jobs.contract.errors import UserError
from relion_jobs.contract.labels import SUBMIT_SCRIPT
from relion_jobs.ondisk.atomic import disk_error, write_whole
from relion_jobs.ondisk.job_directory import JobDirectory
from relion_jobs.running.finish import mark_as_dead
from relion_jobs.running.launch import Launch
from relion_jobs.running.registry import FOLDERS_VARIABLE

WORKER = "relion_jobs.running.worker"
PACKAGE_ROOT = Path(__file__).resolve().parents[2]


def submit(launch: Launch) -> subprocess.Popen[bytes] | None:
    """Start a job; returns its process, or None where a queue has it.

    Raises
    ------
    UserError
        The template, the queue or the log files are not usable; the job is marked as failed then.
    """
    directory = launch.directory
    command = worker_command(directory)
    try:
        if launch.settings.values.get("do_queue"):
            _submit_to_queue(launch, shlex.join(command))
            process = None
        else:
            process = _start_here(directory, command)
    except UserError:
        mark_as_dead(directory)
        raise
    directory.append_note(shlex.join(command), datetime.now())
    directory.copy_pipeline()
    return process


def worker_command(directory: JobDirectory) -> list[str]:
    """Return the command that runs a job in the project directory.

    ``-P`` keeps Python from importing a stray ``torch.py`` of the project directory.
    """
    return [sys.executable, "-P", "-m", WORKER, directory.name.rstrip("/") + "/"]


def _start_here(directory: JobDirectory, command: list[str]) -> subprocess.Popen[bytes]:
    try:
        with directory.run_out.open("ab") as out, directory.run_err.open("ab") as err, _starting(command[0]):
            return subprocess.Popen(
                command,
                cwd=directory.project,
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                # Ctrl-C and a closed terminal reach the front end only; it asks the job to stop in RELION's way
                start_new_session=True,
            )
    except OSError as error:
        raise disk_error(error, Path(error.filename or directory.run_out)) from error


@contextmanager
def _starting(program: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"The program {program} cannot be started: {error.strerror}; install relion_jobs again.") from error


def _environment() -> dict[str, str]:
    """Our environment, with this package where the worker finds it even if it is run from a source tree."""
    environment = dict(os.environ)
    if folders := environment.get(FOLDERS_VARIABLE):
        # the worker starts in the project, not where the person stands
        environment[FOLDERS_VARIABLE] = os.pathsep.join(os.path.abspath(folder) for folder in folders.split(os.pathsep) if folder)
    if PACKAGE_ROOT.name not in ("site-packages", "dist-packages"):
        paths = [str(PACKAGE_ROOT), environment.get("PYTHONPATH", "")]
        environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    return environment


def _submit_to_queue(launch: Launch, command: str) -> None:
    values, directory = launch.settings.values, launch.directory
    template = Path(str(values.get("qsubscript") or ""))
    try:
        text = (directory.project / template).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"Error reading template submission script in: {template} ({error.__class__.__name__}); "
            "name one in qsubscript or RELION_QSUB_TEMPLATE."
        ) from error
    name = directory.name.rstrip("/") + "/"
    script = f"{name}{SUBMIT_SCRIPT}"
    write_whole(directory.project / script, filled_template(text, placeholders(values, name), command))
    words = shlex.split(str(values.get("qsub") or ""))
    if not words:
        raise UserError("The queue submit command (qsub) is empty; name one, such as sbatch.")
    try:
        done = subprocess.run([*words, script], cwd=directory.project, env=_environment(), check=False)
    except OSError as error:
        raise UserError(f"The queue submit command '{words[0]}' cannot be run: {error.strerror}.") from error
    if done.returncode:
        raise UserError(f"The queue refused the job: '{shlex.join([*words, script])}' ended with exit code {done.returncode}.")


def placeholders(values: Mapping[str, object], name: str) -> dict[str, str]:
    """Texts for RELION's XXX...XXX placeholders but XXXcommandXXX.

    Parameters
    ----------
    values
        Options of the job.
    name
        Job directory with its slash.
    """
    threads = _whole(values.get("nr_threads"))
    dedicated = max(1, _whole(values.get("min_dedicated")))
    texts = {
        "mpinodes": "1",
        "threads": str(threads),
        "cores": str(threads),
        "dedicated": str(dedicated),
        "nodes": str(math.ceil(threads / dedicated)),
        "name": name,
        "errfile": f"{name}run.err",
        "outfile": f"{name}run.out",
        "queue": str(values.get("queuename") or ""),
    }
    for variable, value in values.items():
        if match := re.fullmatch(r"qsub_(extra\d+)", variable):
            texts[match.group(1)] = str(value or "")
    return {f"XXX{key}XXX": text for key, text in texts.items()}


def _whole(value: object) -> int:
    return value if isinstance(value, int) and value > 0 else 1


def filled_template(template: str, texts: Mapping[str, str], command: str) -> str:
    """Fill in a submission script as RELION does.

    A line with XXXcommandXXX keeps what stands around it (``srun XXXcommandXXX``) only where the command holds ``relion_``,
    else the whole line becomes the bare command. An empty line ends the script.
    """
    lines = []
    for line in template.splitlines():
        if "XXXcommandXXX" in line and "relion_" not in command:
            lines.append(command)
            continue
        for placeholder, text in texts.items():
            line = line.replace(placeholder, text)
        lines.append(line.replace("XXXcommandXXX", command))
    return "\n".join([*lines, "", ""])
