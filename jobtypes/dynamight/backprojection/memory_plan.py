"""What a reconstruction will need, said before it runs."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from jobtypes.common.conventions import HALVES
from jobtypes.common.devices import free_memory_bytes
from jobtypes.common.memory import available_memory_bytes
from jobtypes.dynamight import layout
from jobtypes.dynamight.backprojection.ball import ball_of
from jobtypes.dynamight.backprojection.bins import Binning, Bins
from jobtypes.dynamight.backprojection.time_plan import moving_voxels
from jobtypes.dynamight.backprojection.whole_tensors import BYTES_PER_VOXEL, CHUNK
from jobtypes.dynamight.model.result import ForwardResult, checkpoint_path, read_checkpoint
from jobtypes.dynamight.options import BackprojectionOptions, StatesOptions
from relion_jobs.contract.errors import UserError

_GIGABYTE = 1e9
# Poses, latents, quality, and, while bins are chosen, coefficients of 16 fields in double precision five times over.
_BYTES_PER_PARTICLE = 1000
# Where nobody says how many bins there may be, their sums take no more than this, which bounds the time of the solves as well; in
# any box there may be so many bins in each half set.
_MOST_SUMS_BYTES, _BINS_IN_ANY_BOX = 8 * 10**9, 40


def most_bins(box: int) -> int:
    """Bins of each half set that there may be where nobody says how many."""
    one_each = MemoryPlan(box, n_bins=1, n_bins_total=2, basis_bytes=0, batch_size=1)
    return max(_BINS_IN_ANY_BOX, _MOST_SUMS_BYTES // one_each.sums_bytes)


def asked_binning(options: BackprojectionOptions | StatesOptions, box: int) -> Binning:
    """How the options of a task want bins to be chosen."""
    return Binning(options.bin_tolerance, options.max_bins or most_bins(box), options.seed)


def processes_for(options: BackprojectionOptions | StatesOptions, job_directory: Path) -> int:
    """Processes that share the threads of this machine's CPU: one, or one for each half set, where the memory holds both."""
    if torch.cuda.is_available() or options.nr_threads < len(HALVES):
        return 1
    box = read_checkpoint(checkpoint_path(job_directory, options.fn_checkpoint))["settings"]["box"]
    working = MemoryPlan(box, 1, 1, 0, options.backproject_batchsize).working_bytes
    return len(HALVES) if len(HALVES) * working < available_memory_bytes() else 1


def plan_for(
    forward: ForwardResult,
    bins: Mapping[int, Bins],
    options: BackprojectionOptions | StatesOptions,
    device: torch.device,
    *,
    fields_kept: Mapping[int, int] | None = None,
    halves_at_once: int = len(HALVES),
) -> MemoryPlan:
    """The plan of a task that solves for maps of half sets.

    Parameters
    ----------
    forward, bins
        Both half sets, and the bins of each.
    options, device
        Of the task.
    fields_kept
        Displacement fields that are kept on the voxels, by half; None: those of the models.
    halves_at_once
        Of how many half sets there are sums and fields at a time.
    """
    fields_kept = fields_kept or {half: part.model.field.n_fields for half, part in forward.halves.items()}
    basis = [12 * fields_kept[half] * moving for half, moving in moving_voxels(forward, bins).items()]
    counts = [len(of_half) for of_half in bins.values()]
    return MemoryPlan(
        forward.box,
        max(counts),
        sum(sorted(counts)[-halves_at_once:]),
        sum(sorted(basis)[-halves_at_once:]),
        options.backproject_batchsize,
        n_particles=sum(len(part.rows) for part in forward.halves.values()),
        free_gpu_bytes=free_memory_bytes(device),
    )


@dataclass(frozen=True)
class MemoryPlan:
    """Memory and scratch space of a reconstruction.

    Attributes
    ----------
    box
        N.
    n_bins
        Bins of the half with more of them.
    n_bins_total
        Bins of both halves.
    basis_bytes
        Tabulated deformation fields of both halves.
    batch_size
        Images at once.
    n_particles
        Of both halves.
    free_gpu_bytes
        Of the memory of the GPU that it runs on; None on a CPU.
    n_maps
        Maps that are written beside the sums.
    task_folder
        Of the task, in the job directory: sums and maps are there.
    """

    box: int
    n_bins: int
    n_bins_total: int
    basis_bytes: int
    batch_size: int
    n_particles: int = 0
    free_gpu_bytes: int | None = None
    n_maps: int = 0
    task_folder: Path = layout.BACKPROJECTION

    @property
    def bin_bytes(self) -> int:
        """Sums of one bin: a map and the weights of the points of its padded spectrum."""
        return 4 * self.box**3 + 4 * self._points

    @property
    def working_bytes(self) -> int:
        """What is needed at any time: fields, sums of all bins of both halves, the largest stage, maps, a batch."""
        totals = 2 * (4 * self._points + 6 * self.box**3)
        open_grid, two_spectra = 24 * self._points, 16 * (2 * self.box) ** 2 * (self.box + 1)
        # of the solver, on the way through a transform, and freed memory that is kept, measured at box 216
        maps = (12 + 6 + 24) * 4 * self.box**3
        image_terms = self.box * (self.box // 2 + 1)
        particles = self.n_particles * _BYTES_PER_PARTICLE
        return self.basis_bytes + totals + max(open_grid, two_spectra) + maps + self.batch_size * image_terms * 200 + particles

    @property
    def gpu_bytes(self) -> int:
        """The same of a GPU, which moves many voxels at once and keeps the places of all points."""
        return self.working_bytes + min(CHUNK, self.box**3) * BYTES_PER_VOXEL + 8 * self._points

    @property
    def _points(self) -> int:
        return len(ball_of(self.box, torch.device("cpu")))

    @property
    def sums_bytes(self) -> int:
        """All sums of both halves."""
        return self.n_bins_total * self.bin_bytes

    def cache_bytes(self, available: int | None = None) -> int:
        """Memory that may hold sums: half of what is free after the working memory."""
        free = available_memory_bytes() if available is None else available
        return max(0, (free - self.working_bytes) // 2)

    def gpu_cache_bytes(self) -> int:
        """Memory of the GPU that may hold weights, which each iteration needs: half of what is free after the working memory."""
        return 0 if self.free_gpu_bytes is None else max(0, (self.free_gpu_bytes - self.gpu_bytes) // 2)

    def refuse_full_disk(self, job_directory: Path, free: int | None = None) -> None:
        """Refuse to start where the sums, all of which are saved, and the maps do not fit on the disk.

        Parameters
        ----------
        job_directory
            Of the job; it need not exist. What the task has left there already counts as room.
        free
            Bytes that are free on the disk; None: asked for.

        Raises
        ------
        UserError
            There is too little room.
        """
        folder = job_directory / self.task_folder
        there = next(path for path in (folder / "sums").absolute().parents if path.exists())
        room = shutil.disk_usage(there).free if free is None else free
        room += sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        maps_bytes = self.n_maps * 4 * self.box**3
        if self.sums_bytes + maps_bytes > room:
            raise UserError(
                f"The sums of {self.n_bins_total} bins take {self.sums_bytes / _GIGABYTE:.1f} GB in {folder}/, and {self.n_maps} "
                f"maps {maps_bytes / _GIGABYTE:.1f} GB, but the disk has room for {room / _GIGABYTE:.1f} GB; make room, take "
                "fewer bins (max_bins), or bin the particles."
            )

    def sentence(self, available: int | None = None) -> str:
        """Say the plan in words."""
        cache = self.cache_bytes(available)
        where = (
            "which stay in memory"
            if self.sums_bytes <= cache
            else f"of which {cache / _GIGABYTE:.1f} GB stay in memory and the rest is read from scratch files in "
            f"{layout.BACKPROJECTION}/"
        )
        return (
            f"Memory: {self.working_bytes / _GIGABYTE:.1f} GB to work in, and sums of {self.n_bins_total} bins of "
            f"{self.bin_bytes / 1e6:.0f} MB each ({self.sums_bytes / _GIGABYTE:.1f} GB), {where}.{self._of_gpu()}"
        )

    def _of_gpu(self) -> str:
        """What it needs of the GPU, in words."""
        if self.free_gpu_bytes is None:
            return ""
        needed, free = self.gpu_bytes / _GIGABYTE, self.free_gpu_bytes / _GIGABYTE
        if needed > free:
            return (
                f" On the GPU it takes up to {needed:.1f} GB to work in, and {free:.1f} GB are free: where that is too little, "
                "take a smaller backproject_batchsize, another GPU (gpu_id), or bin the particles."
            )
        kept = min(self.gpu_cache_bytes(), 4 * self._points * self.n_bins) / _GIGABYTE
        return (
            f" On the GPU it takes up to {needed:.1f} GB of the {free:.1f} GB that are free, and keeps {kept:.1f} GB of the sums "
            "of a half set there."
        )
