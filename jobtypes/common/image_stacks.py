"""Image stacks (.mrcs) on disk: the header, and images mapped into memory."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobtypes.common.compressed import packed_beside, refuse_packed
from jobtypes.common.moved_stacks import OPTION
from relion_jobs.contract.errors import UserError

_HEADER_BYTES = 1024
_TYPE_OF_MODE = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2"}
_LARGEST_AXIS = 1 << 20  # a larger one means that the bytes are in the other order


@dataclass(frozen=True)
class StackLayout:
    """What the header of a stack says.

    Attributes
    ----------
    path
        The file.
    shape
        Slices, rows, columns.
    dtype
        Type and byte order of a pixel.
    offset
        First byte of the first image.
    pixel_size_angstroms
        Along x; None where the header does not say.
    """

    path: Path
    shape: tuple[int, int, int]
    dtype: np.dtype
    offset: int
    pixel_size_angstroms: float | None

    def map(self) -> NDArray[Any]:
        """Map the images into memory, read only."""
        return np.memmap(self.path, dtype=self.dtype, mode="r", offset=self.offset, shape=self.shape)


def read_layout(path: Path, name: str, *, remedy: str = "restore it, or correct its name") -> StackLayout:
    """Read the header of a stack or map, 1024 bytes, whatever its length.

    Parameters
    ----------
    path
        The file.
    name
        What it is, for messages: "image stack Extract/job002/a.mrcs".
    remedy
        What to do where it is missing.

    Raises
    ------
    UserError
        The file is missing, packed, of an unknown kind or shorter than its header says.
    """
    try:
        with open(path, "rb") as file:
            header, length = file.read(_HEADER_BYTES), os.fstat(file.fileno()).st_size
    except FileNotFoundError:
        raise UserError(f"The {name} does not exist (looked for {path}); {packed_beside(path) or remedy}.") from None
    except OSError as error:
        raise UserError(f"The {name} cannot be read: {error.strerror} ({path}).") from error
    refuse_packed(path, name, header)
    if len(header) < _HEADER_BYTES:
        raise UserError(f"The {name} is truncated: {length} bytes, less than its header of {_HEADER_BYTES}; write it again.")
    layout = _parse(path, name, header)
    expected = layout.offset + int(np.prod(layout.shape, dtype=np.int64)) * layout.dtype.itemsize
    if length < expected:
        raise UserError(
            f"The {name} is truncated: {length} bytes, but {layout.shape[0]} sections of {layout.shape[2]} x "
            f"{layout.shape[1]} need "
            f"{expected}; write it again."
        )
    return layout


def read_stack_layout(path: Path, name: str) -> StackLayout:
    """Read the header of an image stack as `read_layout` does; `name` is what the STAR file calls it."""
    remedy = f"restore it, correct its name, or say where the stacks lie now (option {OPTION}, OLD=NEW)"
    return read_layout(path, f"image stack {name}", remedy=remedy)


class OpenStacks:
    """The stacks in use, mapped into memory; the ones not used for longest are let go, so that thousands of stacks do no harm.

    Parameters
    ----------
    paths, names
        Files, and what the STAR file calls them.
    limit
        Most stacks mapped at a time.
    """

    def __init__(self, paths: tuple[Path, ...], names: tuple[str, ...], *, limit: int = 256) -> None:
        self._paths, self._names, self._limit = paths, names, limit
        self._maps: OrderedDict[int, NDArray[Any]] = OrderedDict()
        self._lock = Lock()

    def __reduce__(self) -> tuple[Callable[..., OpenStacks], tuple[object, ...]]:
        """Leave the maps behind: worker processes open their own."""
        return partial(OpenStacks, limit=self._limit), (self._paths, self._names)

    def images(self, stack: int) -> NDArray[Any]:
        """Return the (slices, rows, columns) map of a stack; safe to call from several threads."""
        with self._lock:
            images = self._maps.get(stack)
        if images is None:  # outside of the lock: one that is slow to open does not keep others waiting
            images = read_stack_layout(self._paths[stack], self._names[stack]).map()
        with self._lock:
            self._maps[stack] = images
            self._maps.move_to_end(stack)
            if len(self._maps) > self._limit:
                self._maps.popitem(last=False)
        return images


def _parse(path: Path, name: str, header: bytes) -> StackLayout:
    for order in "<>":
        columns, rows, slices, mode = np.frombuffer(header, dtype=f"{order}i4", count=4).tolist()
        extended = int(np.frombuffer(header, dtype=f"{order}i4", count=1, offset=92)[0])
        if 0 <= mode < 1 << 16 and 0 < columns <= _LARGEST_AXIS and 0 < rows <= _LARGEST_AXIS and slices > 0 and extended >= 0:
            break
    else:
        raise UserError(f"The {name} is no MRC file: its header gives neither a size nor a mode that exists; write it again.")
    if mode not in _TYPE_OF_MODE:
        raise UserError(f"The {name} has MRC mode {mode}; expected 0, 1, 2, 6 or 12 (float16).")
    dtype = np.dtype(f"{order}{_TYPE_OF_MODE[mode]}")
    intervals = int(np.frombuffer(header, dtype=f"{order}i4", count=1, offset=28)[0])
    length = float(np.frombuffer(header, dtype=f"{order}f4", count=1, offset=40)[0])
    pixel_size_angstroms = length / intervals if intervals > 0 and np.isfinite(length) and length > 0 else None
    return StackLayout(path, (slices, rows, columns), dtype, _HEADER_BYTES + extended, pixel_size_angstroms)
