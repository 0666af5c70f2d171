"""The sums of all bins, in memory and, every minute or so, on disk, so that a killed run continues.

Each finished bin is a file of its own in `layout.PARTIAL_SUMS`; `layout.PARTIAL_SUMS_INDEX` holds the open one and says what they
belong to. Where several processes share the work, each writes the bins that it sums and an index of its own; a run goes on with
what all indices list, by whatever number of processes. Where the sums do not fit into memory these files are also the scratch
space: weights, which every iteration needs, stay in memory as far as they can, those of one half at a time, and all else is read
from the files as it is used.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from jobtypes.common.checkpoints import load_checkpoint, save_checkpoint
from jobtypes.common.devices import is_gpu
from jobtypes.dynamight import layout
from relion_jobs.contract.errors import UserError

_KIND, _VERSION = "dynamight partial sums", 4
_SECONDS_BETWEEN_WRITES = 60.0

Key = tuple[int, str, int]  # half, "train" or "all", bin


class SumsStore:
    """Sums by (half, part, bin).

    Parameters
    ----------
    job_directory
        Of the job.
    belongs_to
        Plain values that name the checkpoint, particles and options; sums of others are thrown away.
    memory_bytes
        Sums kept in memory; beyond it they are read from disk.
    gpu_bytes
        Weights that `HalfSums` keep on the GPU; beyond it they are copied there as they are used.
    as_now
        Makes of what an earlier version has stored as `belongs_to` what this one would have.
    task_folder
        Of the task that the sums are of, in the job directory.
    process
        Which of those that share the work this is; the first one, 0, must look before the others do, as it clears what is stale.
    """

    def __init__(
        self,
        job_directory: Path,
        belongs_to: Mapping[str, Any],
        *,
        memory_bytes: int,
        gpu_bytes: int = 0,
        as_now: Callable[[Mapping[str, Any]], Mapping[str, Any]] = dict,
        task_folder: Path = layout.BACKPROJECTION,
        process: int = 0,
    ) -> None:
        self._folder, self._process = job_directory / task_folder, process
        self._index = self._folder / layout.sums_index(process).name
        self._belongs_to = dict(belongs_to)
        self._memory_bytes, self.gpu_bytes = memory_bytes, gpu_bytes
        self._cache: dict[Key, dict[str, Tensor]] = {}
        self._unsaved: set[Key] = set()
        self._saved: set[Key] = set()
        self._dropped: set[Key] = set()
        self._sound: set[Key] = set()  # on disk, and seen whole by this process
        self._weights_alone: set[Key] = set()  # in memory without the numerator, which is left in its file
        self.notes: dict[str, Any] = {}
        self.open_bin: dict[str, Any] | None = None
        self._last_write = time.monotonic()
        self._write_seconds = 0.0
        self.resumed = self._resume(as_now)

    def __contains__(self, key: Key) -> bool:
        return key in self._cache or key in self._saved

    def put(self, key: Key, numerator: Tensor, weights: Tensor) -> None:
        """Keep the sums of a finished bin: b (N, N, N) and W (p,)."""
        self._cache[key] = {"numerator": numerator, "weights": weights}
        self._weights_alone.discard(key)
        self._unsaved.add(key)
        self.open_bin = None
        if self._cached_bytes() > self._memory_bytes:
            self.save()
            self._cache.clear()

    def get(self, key: Key) -> dict[str, Tensor]:
        """Numerator and weights of a bin."""
        if key in self._cache:
            return self._cache[key]
        sums = load_checkpoint(self._file(key), kind=_KIND, version=_VERSION, mapped=key in self._sound)
        self._sound.add(key)
        if self._make_room(_n_bytes(sums["weights"]), key):
            sums = load_checkpoint(self._file(key), kind=_KIND, version=_VERSION, mapped=True)
            self._cache[key] = sums = {"numerator": sums["numerator"], "weights": sums["weights"].clone()}
            self._weights_alone.add(key)
        return sums

    def drop(self, key: Key) -> None:
        """Forget a bin; its file goes once what took its place is on disk."""
        self._cache.pop(key, None)
        self._unsaved.discard(key)
        self._sound.discard(key)
        if key in self._saved:
            self._saved.discard(key)
            self._dropped.add(key)

    def save_now_and_then(self) -> None:
        """Write what is not on disk, if a minute has passed; less often where writing is slow."""
        if time.monotonic() - self._last_write > max(_SECONDS_BETWEEN_WRITES, 20 * self._write_seconds):
            self.save()

    def save(self) -> None:
        """Write everything that is not on disk; the index last."""
        begun = time.monotonic()
        for key in sorted(self._unsaved):
            save_checkpoint(self._file(key), self._cache[key], kind=_KIND, version=_VERSION)
            self._saved.add(key)
            self._sound.add(key)
            self._dropped.discard(key)
        self._unsaved.clear()
        index = {"belongs_to": self._belongs_to, "saved": [list(key) for key in sorted(self._saved)], "notes": self.notes}
        save_checkpoint(self._index, index | {"open_bin": self.open_bin}, kind=_KIND, version=_VERSION)
        for key in self._dropped:
            self._file(key).unlink(missing_ok=True)
        self._dropped.clear()
        self._last_write = time.monotonic()
        self._write_seconds = self._last_write - begun

    def delete(self) -> None:
        """Remove everything from disk, that of other processes too: the maps are written."""
        for index in self._folder.glob(layout.PARTIAL_SUMS_INDICES.name):
            index.unlink(missing_ok=True)
        shutil.rmtree(self._folder / layout.PARTIAL_SUMS.name, ignore_errors=True)

    def _resume(self, as_now: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> bool:
        for path in sorted(self._folder.glob(layout.PARTIAL_SUMS_INDICES.name)):
            try:
                index = load_checkpoint(path, kind=_KIND, version=_VERSION)
            except UserError:  # damaged by a crash: these sums can be made again
                index = {}
            if "belongs_to" in index and as_now(index["belongs_to"]) == self._belongs_to:
                self._take(index, is_own=path == self._index)
            elif self._process == 0:
                path.unlink()
        found = self._index.is_file() if self._process == 0 else bool(self._saved)
        if self._process == 0 and not found:
            self.delete()
            self._saved.clear()
        return found

    def _take(self, index: dict[str, Any], *, is_own: bool) -> None:
        """Go on with what an index lists."""
        keys = [(half, part, m) for half, part, m in index["saved"]]
        self._saved.update(key for key in keys if self._file(key).is_file())
        if is_own:
            self.notes, self.open_bin = index["notes"], index["open_bin"]

    def _file(self, key: Key) -> Path:
        return self._folder / layout.PARTIAL_SUMS.name / layout.partial_sums(*key).name

    def _make_room(self, wanted: int, key: Key) -> bool:
        """Whether so many bytes fit into memory, once bins of another half or part than that of the key have left it."""
        for other in list(self._cache):
            if self._cached_bytes() + wanted <= self._memory_bytes:
                break
            if other[:2] != key[:2]:
                if other in self._unsaved:
                    self.save()
                del self._cache[other]
        return self._cached_bytes() + wanted <= self._memory_bytes

    def _cached_bytes(self) -> int:
        return sum(
            _n_bytes(sums["weights"]) + (0 if key in self._weights_alone else _n_bytes(sums["numerator"]))
            for key, sums in self._cache.items()
        )


def _n_bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


class HalfSums:
    """The sums of one half, as `normal_equations.Reconstruction` wants them.

    Parameters
    ----------
    store
        Where they are.
    half, part
        Which.
    n_bins
        M.
    device
        Where they are used.
    """

    def __init__(self, store: SumsStore, half: int, part: str, n_bins: int, device: torch.device) -> None:
        self._store, self._half, self._part, self._n_bins, self.device = store, half, part, n_bins, device
        self._on_gpu: dict[int, Tensor] = {}
        self._room = store.gpu_bytes

    def __len__(self) -> int:
        """Return M."""
        return self._n_bins

    def numerator(self, m: int) -> Tensor:
        """b_m."""
        return self._store.get((self._half, self._part, m))["numerator"].to(self.device)

    def weights(self, m: int) -> Tensor:
        """W_m."""
        if m in self._on_gpu:
            return self._on_gpu[m]
        weights = self._store.get((self._half, self._part, m))["weights"].to(self.device)
        if is_gpu(self.device) and _n_bytes(weights) <= self._room:
            self._on_gpu[m] = weights
            self._room -= _n_bytes(weights)
        return weights
