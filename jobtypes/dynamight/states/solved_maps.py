"""Half maps that a run has solved, on disk, so that an unfinished one goes on behind the last of them."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jobtypes.common.checkpoints import load_checkpoint, save_checkpoint
from jobtypes.dynamight import layout
from jobtypes.dynamight.states.half_state import SolvedHalf
from relion_jobs.contract.errors import UserError

_KIND, _VERSION = "dynamight solved states", 1


class SolvedMaps:
    """Solved halves by name.

    Parameters
    ----------
    job_directory
        Of the job.
    belongs_to
        Plain values that name checkpoint, particles, states and options; maps of others are thrown away.
    """

    def __init__(self, job_directory: Path, belongs_to: Mapping[str, Any]) -> None:
        self._job_directory = job_directory
        self._index = job_directory / layout.SOLVED_STATES_INDEX
        try:
            index = load_checkpoint(self._index, kind=_KIND, version=_VERSION)
        except UserError:  # none, or damaged by a crash: these maps can be made again
            index = {}
        self.resumed = index.get("belongs_to") == dict(belongs_to)
        if not self.resumed:
            self.delete()
            save_checkpoint(self._index, {"belongs_to": dict(belongs_to)}, kind=_KIND, version=_VERSION)

    def get(self, name: str) -> SolvedHalf | None:
        """What has been solved under a name; None: nothing yet."""
        try:
            return SolvedHalf(**load_checkpoint(self._file(name), kind=_KIND, version=_VERSION))
        except UserError:  # the same
            return None

    def put(self, name: str, solved: SolvedHalf) -> None:
        """Keep what was solved."""
        save_checkpoint(self._file(name), asdict(solved), kind=_KIND, version=_VERSION)

    def delete(self) -> None:
        """Remove everything: the maps are written."""
        self._index.unlink(missing_ok=True)
        shutil.rmtree(self._job_directory / layout.SOLVED_STATES, ignore_errors=True)

    def _file(self, name: str) -> Path:
        return self._job_directory / layout.solved_state(name)
