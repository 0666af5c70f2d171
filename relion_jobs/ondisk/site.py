"""site.yaml: queue template, GPUs, plugin folders."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from relion_jobs.contract.errors import UserError
from relion_jobs.ondisk.atomic import disk_error
from relion_jobs.ondisk.trust import refuse_strangers, refuse_writable_by_all

SITE_FILE = "site.yaml"
SITE_VARIABLE = "RELION_JOBS_SITE"


@dataclass(frozen=True)
class Site:
    """What is special about this place; everything is optional.

    Parameters
    ----------
    queue_template
        Submission script template, used where a job names none.
    queue_name, queue_command
        Defaults of ``queuename`` and ``qsub``.
    queue_cancel_command
        Takes the number of a job in the queue and cancels it, such as ``qdel``; not needed for Slurm.
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
    queue_cancel_command: str | None = None
    plugin_folders: tuple[Path, ...] = ()
    gpus: tuple[int, ...] | None = None
    mail_command: str | None = None


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
    return Site(**{key: _convert(path, key, value) for key, value in (content or {}).items() if value is not None})


def _convert(path: Path, key: str, value: Any) -> Any:
    if key == "gpus" and isinstance(value, list) and all(type(gpu) is int and gpu >= 0 for gpu in value):
        return tuple(value)
    if key == "plugin_folders" and isinstance(value, list) and all(isinstance(folder, str) for folder in value):
        return tuple(_relative_to(path, folder) for folder in value)
    if key == "queue_template" and isinstance(value, str):
        return _relative_to(path, value)
    if key in ("mail_command", "queue_name", "queue_command", "queue_cancel_command") and isinstance(value, str):
        return value
    expected = {"gpus": "a list of numbers such as [0, 1]", "plugin_folders": "a list of folders"}.get(key, "a text")
    raise UserError(f"{path}: {key} is {value!r}; it must be {expected}.")


def _relative_to(path: Path, text: str) -> Path:
    return Path(os.path.abspath(path.parent)) / Path(text).expanduser()
