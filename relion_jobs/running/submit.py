"""Starts the process of a prepared job: a child of this one, or a script handed to a queue."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from relion_jobs.contract.errors import UserError
from relion_jobs.contract.labels import SUBMIT_LOG, SUBMIT_SCRIPT
from relion_jobs.ondisk.atomic import disk_error, write_whole
from relion_jobs.ondisk.command_words import words_of
from relion_jobs.ondisk.job_directory import JobDirectory
from relion_jobs.ondisk.locks import hand_over
from relion_jobs.running.finish import mark_as_dead
from relion_jobs.running.foreign_packages import PACKAGE_ROOT
from relion_jobs.running.launch import Launch
from relion_jobs.running.queue_script import filled_template, placeholders, read_template
from relion_jobs.running.registry import FOLDERS_VARIABLE
from relion_jobs.running.settings import SUBMIT_COMMAND

WORKER = "relion_jobs.running.worker"


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
            # before, not after: the queue may start the job at once, which then names itself
            hand_over(directory.path, None)
            _submit_to_queue(launch, shlex.join(command))
            process = None
        else:
            process = _start_here(directory, command)
            hand_over(directory.path, process.pid)
    except UserError:
        hand_over(directory.path, None)
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
        with (
            directory.run_out.open("ab") as out,
            directory.run_err.open("ab") as err,
            _starting(command[0], "install relion_jobs again"),
        ):
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
def _starting(program: str, remedy: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"The program {program} cannot be started: {error.strerror}; {remedy}.") from error


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
    """Write the submission script and hand it to the queue; run_submit.log keeps what the queue says, the job's number in it."""
    values, directory = launch.settings.values, launch.directory
    template = read_template(directory.project / str(values.get("qsubscript") or ""))
    name = directory.name.rstrip("/") + "/"
    text = filled_template(template, placeholders(values, name), command)
    write_whole(directory.path / SUBMIT_SCRIPT, text)
    words = words_of(str(values.get(SUBMIT_COMMAND) or ""), "queue submit command (qsub)")
    # 'bsub <': RELION gives the command to a shell
    reads_script = len(words) > 1 and words[-1] == "<"
    start = f"{shlex.join(words[:-1])} <" if reads_script else shlex.join(words)
    submission = f"{start} {name}{SUBMIT_SCRIPT}"
    log_path = directory.path / SUBMIT_LOG
    try:
        # a file, not a pipe: what the command leaves running in the background may keep its output open
        with log_path.open("w", errors="replace") as log, _starting(words[0], "name another in qsub"):
            log.write(submission + "\n")
            log.flush()
            done = subprocess.run(
                words[:-1] if reads_script else [*words, name + SUBMIT_SCRIPT],
                cwd=directory.project,
                env=_environment(),
                input=text.encode() if reads_script else None,
                stdout=log,
                check=False,
            )
        sys.stdout.write(log_path.read_text(errors="replace").partition("\n")[2])
    except OSError as error:
        raise disk_error(error, log_path) from error
    if done.returncode:
        raise UserError(f"The queue refused the job: '{submission}' ended with exit code {done.returncode}.")
