"""Arrays as text in a page: whole numbers, their differences, deflated, in base64. `browser/data.js` reads them.

Half precision would hold as much, but not say how much: a step does, and neighbours on a surface differ by few steps, so that
deflate finds hardly more than a byte in each number.
"""

from __future__ import annotations

import base64
import zlib
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from relion_jobs.contract.errors import UserError

Packed = dict[str, Any]


def pack(values: ArrayLike, *, step: float = 1.0, neighbours: bool = False) -> Packed:
    """An array as multiples of a step, to half a step.

    Parameters
    ----------
    values : (..., n, c) or (n,)
        Finite numbers.
    step
        What one unit is; 1 for whole numbers.
    neighbours
        Whether what follows along n is alike, as on a surface or in sorted rows; then differences are kept.

    Raises
    ------
    UserError
        A value is not finite, or more than 2^31 steps large.
    """
    array = np.atleast_1d(np.asarray(values, dtype=np.float64))
    if array.size and not float(np.abs(array).max()) / step < 2**31:
        most = float(np.abs(array).max())
        raise UserError(f"A number of {most:g} cannot be shown in steps of {step:g}; is the training sound? Look at run.out.")
    whole = np.rint(array / step).astype(np.int64)
    columns = array.shape[-1] if array.ndim > 1 else 1
    rows = array.shape[-2] if array.ndim > 1 else array.shape[0]
    if neighbours and whole.size:
        table = whole.reshape(-1, rows, columns)
        whole = np.concatenate((table[:, :1], np.diff(table, axis=1)), axis=1).reshape(array.shape)
    width = next(size for size in (1, 2, 4) if not whole.size or np.abs(whole).max() < 2 ** (8 * size - 1))
    return {
        "shape": list(array.shape),
        "step": step,
        "width": width,
        "run": [rows, columns] if neighbours else None,
        "data": _text(whole.astype(f"<i{width}"), width),
    }


def pack_floats(values: ArrayLike) -> Packed:
    """An array in single precision, for what must be exact, such as the weights of a network."""
    array = np.ascontiguousarray(values, dtype="<f4")
    return {"shape": list(array.shape), "step": 0, "width": 4, "run": None, "data": _text(array, 4)}


def deflated_text(content: bytes) -> str:
    """Bytes as base64 of a zlib stream, which browsers inflate by themselves."""
    return base64.b64encode(zlib.compress(content, 9)).decode()


def _text(array: NDArray[Any], width: int) -> str:
    """The first bytes of all numbers, then the second ones: high bytes are nearly all alike."""
    planes = np.frombuffer(array.tobytes(), dtype=np.uint8).reshape(-1, width).T
    return deflated_text(planes.tobytes())
