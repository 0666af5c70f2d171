"""site.yaml: the queue and its commands, GPUs, plugin folders."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from relion_jobs.contract.errors import UserError
from relion_jobs.ondisk.atomic import disk_error
from relion_jobs.ondisk.command_words import words_of
from relion_jobs.ondisk.trust import refuse_strangers, refuse_writable_by_all

SITE_FILE = "site.yaml"
SITE_VARIABLE = "RELION_JOBS_SITE"
# stands for the number of a job in its queue
ID = "{id}"
_NUMBERS = ("gpus", "queue_ended_codes")
_COMMANDS = ("mail_command", "queue_status_command", "queue_cancel_command")
_PATTERNS = ("queue_id", "queue_waits", "queue_runs", "queue_ended")


@dataclass(frozen=True)
class Site:
    """What is special about this place; everything is optional.

    Attributes
    ----------
    queue_template
        Submission script template, used where a job names none.
    queue_name, queue_command
        Defaults of ``queuename`` and ``qsub``.
    queue_id
        Regular expression that finds a job's number in what the submit command says, with one group around it; None: as Slurm,
        PBS, LSF and SGE say it.
    queue_status_command
        Tells how the job ``{id}`` stands, or all jobs; not needed for Slurm.
    queue_waits, queue_runs, queue_ended
        Regular expressions for what that says of job ``{id}``: it waits, it runs, it has ended. Tried in this order.
    queue_ended_codes
        Exit codes of the status command that say, where none of them is found, that the queue no longer knows the job.
    queue_cancel_command
        Cancels the job ``{id}``, such as ``qdel {id}``; without ``{id}`` the number is put behind. Not needed for Slurm.
    plugin_folders
        Folders in which further job types are looked for.
    gpus
        GPUs that jobs may use; None: all.
    mail_command
        Sends the e-mails of schemes, such as ``mail``: it is given ``-s SUBJECT ADDRESS`` and the text on standard input.
    """

    queue_template: Path | None = None
    queue_name: str | None = None
    queue_command: str | None = None
    queue_id: str | None = None
    queue_status_command: tuple[str, ...] = ()
    queue_waits: str | None = None
    queue_runs: str | None = None
    queue_ended: str | None = None
    queue_ended_codes: tuple[int, ...] = ()
    queue_cancel_command: tuple[str, ...] = ()
    plugin_folders: tuple[Path, ...] = ()
    gpus: tuple[int, ...] | None = None
    mail_command: tuple[str, ...] = ()


def read_site(project: Path | None = None, environment: Mapping[str, str] = os.environ) -> Site:
    """Read the first of ``$RELION_JOBS_SITE``, ``PROJECT/site.yaml`` and ``~/.config/relion_jobs/site.yaml``.

    Paths in the file are relative to the file. Without a file everything has its default.

    Raises
    ------
    UserError
        The file that the variable names is missing, or a file cannot be understood, can be changed by everybody, or belongs to
        somebody else and is not the one that the variable names.
    """
    if named := environment.get(SITE_VARIABLE):
        return _read(Path(named))
    places = [project / SITE_FILE] if project else []
    if home := environment.get("XDG_CONFIG_HOME") or (environment.get("HOME", "") and environment["HOME"] + "/.config"):
        places.append(Path(home) / "relion_jobs" / SITE_FILE)
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        return Site()
    refuse_strangers(found, "site configuration", f"name it: export {SITE_VARIABLE}={shlex.quote(os.path.abspath(found))}")
    return _read(found)


def _read(path: Path) -> Site:
    # only sites that have such a file pay for the import
    import yaml

    refuse_writable_by_all(path, "site configuration")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise disk_error(error, path, "read") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is no YAML file: {' '.join(str(error).split())}.") from None
    if not isinstance(content, dict | None):
        raise UserError(f"{path} must hold lines such as 'queue_name: gpu'; it holds a {type(content).__name__}.")
    known = [field.name for field in fields(Site)]
    for key in content or {}:
        if key not in known:
            raise UserError(f"{path} has the entry '{key}', which means nothing; known are {', '.join(known)}.")
    site = Site(**{key: _convert(path, key, value) for key, value in (content or {}).items() if value is not None})
    if site.queue_status_command and not (site.queue_waits or site.queue_runs or site.queue_ended or site.queue_ended_codes):
        raise UserError(
            f"{path} has queue_status_command, but nothing that says how its answer is read; give queue_waits, queue_runs, "
            "queue_ended or queue_ended_codes."
        )
    return site


def _convert(path: Path, key: str, value: Any) -> Any:
    if key in _NUMBERS and isinstance(value, list) and all(type(number) is int and number >= 0 for number in value):
        return tuple(value)
    if key == "plugin_folders" and isinstance(value, list) and all(isinstance(folder, str) for folder in value):
        return tuple(_relative_to(path, folder) for folder in value)
    if key == "queue_template" and isinstance(value, str):
        return _relative_to(path, value)
    if key in _COMMANDS:
        return _command(path, key, value)
    if key in _PATTERNS and isinstance(value, str):
        return _pattern(path, key, value)
    if key in ("queue_name", "queue_command") and isinstance(value, str):
        return value
    expected = "a list of numbers such as [0, 1]" if key in _NUMBERS else "a text"
    raise UserError(f"{path}: {key} is {value!r}; it must be {'a list of folders' if key == 'plugin_folders' else expected}.")


def _command(path: Path, key: str, value: Any) -> tuple[str, ...]:
    """Return the words of a command, which is a text or a list of texts."""
    if isinstance(value, str):
        return tuple(words_of(value, f"{key} of {path}"))
    if isinstance(value, list) and value and all(isinstance(word, str) for word in value):
        return tuple(value)
    raise UserError(f"{path}: {key} is {value!r}; it must be a command, as a text or as a list of words such as [qdel, '{ID}'].")


def _pattern(path: Path, key: str, text: str) -> str:
    """Check a regular expression, in which ``{id}`` stands for a number."""
    try:
        groups = re.compile(text.replace(ID, "0")).groups
    except re.error as error:
        raise UserError(f"{path}: {key} is {text!r}, which is no regular expression: {error}.") from None
    if key == "queue_id" and groups != 1:
        raise UserError(f"{path}: {key} is {text!r}; it must have one group, around the number, such as '^(\\d+)'.")
    return text


def _relative_to(path: Path, text: str) -> Path:
    return Path(os.path.abspath(path.parent)) / Path(text).expanduser()
