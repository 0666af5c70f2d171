"""Checkpoints of the forward training: written at the end of every epoch, every few minutes and when the job is aborted."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from pathlib import Path
from typing import Any

from jobtypes.common.checkpoints import save_checkpoint
from jobtypes.common.earlier_results import set_aside
from jobtypes.common.whole_files import remove_unfinished
from jobtypes.dynamight import layout
from jobtypes.dynamight.model.result import FORMAT_VERSION, KIND, checkpoint_path, read_checkpoint
from jobtypes.dynamight.options import ForwardOptions
from relion_jobs.contract.errors import JobFailed

KEPT_CHECKPOINTS = 3


class CheckpointWriter:
    """Writes and prunes the numbered checkpoints of a job.

    Parameters
    ----------
    job_directory
        Of the job.
    options
        Kept in every checkpoint: a resumed training must have the same.
    settings
        Plain values that later tasks need to rebuild the models (see `model.result`).
    """

    def __init__(self, job_directory: Path, options: ForwardOptions, settings: dict[str, Any]) -> None:
        folder = job_directory / layout.CHECKPOINTS
        folder.mkdir(parents=True, exist_ok=True)
        remove_unfinished(folder)
        self.job_directory = job_directory
        self.options, self.settings = options, settings

    def save(self, states: dict[int, dict[str, Any]], history: list[dict[str, float]], *, finished: bool = False) -> Path:
        """Write ``NNN.pth``, or ``checkpoint_final.pth`` when finished; of the older ones the last few are kept.

        NNN is the number of epochs done by every half that still trains. A file keeps its number while the next
        epoch is under way and is then replaced by one that holds more.

        Parameters
        ----------
        states
            `HalfTraining.state` of both half sets.
        history
            Figures of every epoch so far.
        finished
            Whether nothing is left to train.

        Raises
        ------
        JobFailed
            A parameter is not finite: no good checkpoint is followed by one that nothing can go on from.
        UserError
            The disk is full, or the file may not be written.
        """
        _refuse_infinite(states)
        running = [state["epochs_done"] for state in states.values() if not state["has_ended"]]
        epoch = min(running) if running else max(state["epochs_done"] for state in states.values())
        content = {
            "identity": _identity(states),
            "epoch": epoch,
            "finished": finished,
            "options": self.options.as_dict(),
            "settings": self.settings,
            "halves": states,
            "history": history,
        }
        path = self.job_directory / (layout.FINAL_CHECKPOINT if finished else layout.checkpoint(epoch))
        save_checkpoint(path, content, kind=KIND, version=FORMAT_VERSION)
        numbered = sorted(self.job_directory.glob(layout.CHECKPOINT_PATTERN), key=lambda file: int(file.stem))
        for old in numbered[:-KEPT_CHECKPOINTS]:
            old.unlink()
        return path


def load_last(job_directory: Path) -> dict[str, Any] | None:
    """Content of the job's last checkpoint, None where there is none.

    Raises
    ------
    UserError
        It is damaged, or of another kind or format.
    """
    if not any((job_directory / layout.CHECKPOINTS).glob("*.pth")):
        return None
    return read_checkpoint(checkpoint_path(job_directory, None))


def set_results_aside(job_directory: Path, *, keep: Collection[Path] = ()) -> Path:
    """Move all results of a job into ``previous_NNN/`` inside it, but files to keep in their place, and return that folder."""
    # links first, while they lead somewhere; they are relative and lead there again where all has been moved
    links = [path for path in sorted(job_directory.iterdir()) if _leads_to_results(path)]
    paths = [path for folder in layout.RESULT_FOLDERS for path in sorted((job_directory / folder).glob("*")) if path not in keep]
    return set_aside(job_directory, [*links, *paths])


def _leads_to_results(path: Path) -> bool:
    return path.is_symlink() and Path(path.readlink().parts[0]) in layout.RESULT_FOLDERS


def _refuse_infinite(states: dict[int, dict[str, Any]]) -> None:
    for half, state in states.items():
        bad = next((name for name, tensor in state["model"].items() if not bool(tensor.isfinite().all())), None)
        if bad is not None:
            raise JobFailed(
                f"{bad} of half {half} became infinite in epoch {state['epochs_done'] + 1}; the last good checkpoint is kept. "
                "Run it again with a smaller learning_rate."
            )


def _identity(states: dict[int, dict[str, Any]]) -> str:
    """A name for these very parameters: the SHA-256 of both models."""
    digest = hashlib.sha256()
    for half in sorted(states):
        for name, tensor in states[half]["model"].items():
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
