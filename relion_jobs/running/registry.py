"""Job types, found by name at run time: entry points of installed packages and plugin folders."""

from __future__ import annotations

import importlib
import os
import shlex
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from relion_jobs.contract import labels
from relion_jobs.contract.errors import UnknownJobType, UserError
from relion_jobs.contract.jobtype import JobType
from relion_jobs.ondisk.site import read_site
from relion_jobs.ondisk.trust import refuse_strangers, refuse_writable_by_all
from relion_jobs.running.foreign_packages import foreign_packages

ENTRY_POINTS = "relion_jobs.types"
FOLDERS_VARIABLE = "RELION_JOBS_PLUGINS"


@dataclass(frozen=True)
class Registry:
    """Where each job type is declared; nothing is imported before it is asked for.

    Attributes
    ----------
    sources
        Name of the job type -> function that imports and returns it.
    """

    sources: Mapping[str, Callable[[], JobType]]

    def names(self) -> list[str]:
        """Names of all job types, broken ones too."""
        return sorted(self.sources)

    def load(self, name: str) -> JobType:
        """Load the job type of that name.

        Raises
        ------
        UnknownJobType
            There is none; the message names those that there are.
        UserError
            Its plugin is broken; the message says how.
        """
        if name not in self.sources:
            raise UnknownJobType(f"Unknown job type '{name}'; known are {', '.join(self.names()) or 'none'}.")
        try:
            job_type = self.sources[name]()
        except UserError:
            raise
        except Exception as error:
            # a plugin may fail in any way, and the others must still work
            foreign = foreign_packages()
            why = f"{type(error).__name__}: {error}" + (f"; {foreign}." if foreign else "")
            raise UserError(f"The plugin of job type '{name}' is broken: {why}") from error
        if not isinstance(job_type, JobType):
            raise UserError(f"The plugin of job type '{name}' is broken: JOB_TYPE is a {type(job_type).__name__}, not a JobType.")
        return job_type

    def load_all(self) -> tuple[list[JobType], list[str]]:
        """All job types that can be loaded, and a sentence for each that can not."""
        found, complaints = [], []
        for name in self.names():
            try:
                found.append(self.load(name))
            except UserError as error:
                complaints.append(str(error))
        return found, complaints

    def find(self, name_or_label: str) -> JobType:
        """Find the job type of that name, pipeline label or directory.

        As in RELION, trailing dot-parts of a label are dropped until one is known (``dynamight.foo``).
        """
        if name_or_label in self.sources:
            return self.load(name_or_label)
        likely = name_or_label.removeprefix(labels.EXTERNAL_PREFIX).split(".")[0]
        if likely in self.sources and answers_to(self.load(likely), name_or_label):
            return self.load(likely)
        for job_type in self.load_all()[0]:
            if answers_to(job_type, name_or_label):
                return job_type
        raise UnknownJobType(f"Unknown job type '{name_or_label}'; known are {', '.join(self.names()) or 'none'}.")


def answers_to(job_type: JobType, label: str) -> bool:
    """Return True if a pipeline label or a directory names this job type; trailing dot-parts of a label do not count."""
    if label and job_type.directory == label:
        return True
    while label and label != job_type.type_label:
        label = label.rpartition(".")[0]
    return bool(label)


def registry(folders: Iterable[Path] = (), environment: Mapping[str, str] = os.environ) -> Registry:
    """All job types: entry points, then plugin folders (`folders` and those of RELION_JOBS_PLUGINS); the last of a name wins.

    A plugin folder holds ``job.py``; a folder of such folders may be given as well. One that would replace a job type of an
    installed package cannot be loaded, nor can one of `folders` that belongs to another account.
    """
    installed: dict[str, Callable[[], JobType]] = {point.name: point.load for point in entry_points(group=ENTRY_POINTS)}
    sources = dict(installed)
    named = [Path(text) for text in environment.get(FOLDERS_VARIABLE, "").split(os.pathsep) if text]
    for roots, is_named in ((list(folders), False), (named, True)):
        for folder in _plugin_folders(roots):
            sources[folder.name] = _FolderSource(folder, Registry(installed), is_named)
    return Registry(sources)


def project_registry(project: Path | None) -> Registry:
    """All job types as a project sees them: those of `registry` and the plugin folders of its site.yaml."""
    return registry(read_site(project).plugin_folders)


def _plugin_folders(roots: Sequence[Path]) -> list[Path]:
    found = []
    for root in roots:
        root = root.absolute()
        found += [root] if (root / "job.py").is_file() else sorted(path.parent for path in root.glob("*/job.py"))
    return found


@dataclass(frozen=True)
class _FolderSource:
    """A plugin folder, the job types of installed packages, and whether the user named the folder in RELION_JOBS_PLUGINS."""

    folder: Path
    installed: Registry
    is_named: bool

    def __call__(self) -> JobType:
        # before any of its code is run
        if self.folder.name in self.installed.names():
            raise self._replaces(self.folder.name)
        for path in (self.folder, *self.folder.glob("*.py")):
            refuse_writable_by_all(path, "plugin")
            if not self.is_named:
                refuse_strangers(path, "plugin", f"name its folder: export {FOLDERS_VARIABLE}={shlex.quote(str(self.folder))}")
        job_type: JobType = _import_from(self.folder).JOB_TYPE
        if isinstance(job_type, JobType):
            for other in self.installed.load_all()[0]:
                if _is_in_the_way(job_type, other):
                    raise self._replaces(other.name)
        return job_type

    def _replaces(self, name: str) -> UserError:
        return UserError(
            f"The plugin folder {self.folder} is not used, since it would take the place of the job type '{name}', which is "
            "installed; give the folder, and its job type's name, label and directory, names of their own."
        )


def _is_in_the_way(job_type: JobType, other: JobType) -> bool:
    """Whether a name, label or directory that means `other` would find `job_type`."""
    is_found = answers_to(job_type, other.type_label) or answers_to(other, job_type.type_label)
    return is_found or job_type.name == other.name or (bool(other.directory) and job_type.directory == other.directory)


def _import_from(folder: Path) -> ModuleType:
    # at the end of sys.path, so that a plugin folder cannot hide an installed module
    if str(folder.parent) not in sys.path:
        sys.path.append(str(folder.parent))
    module = importlib.import_module(f"{folder.name}.job")
    if Path(str(module.__file__)).resolve().parent != folder.resolve():
        raise UserError(
            f"The plugin folder {folder} cannot be used: Python already has a module '{folder.name}' ({module.__file__}); "
            "give the folder another name."
        )
    return module


def load_function(name: str) -> Callable[..., Any]:
    """Import ``"package.module:function"``.

    Raises
    ------
    UserError
        It cannot be imported, or is not there.
    """
    module_name, _, function_name = name.partition(":")
    try:
        function: Callable[..., Any] = getattr(importlib.import_module(module_name), function_name)
    except (ImportError, AttributeError) as error:
        usual = "a package that it needs is missing" if isinstance(error, ImportError) else "install relion_jobs again"
        raise UserError(f"{name} cannot be loaded ({error}); {foreign_packages() or usual}.") from error
    return function
