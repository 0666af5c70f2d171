"""Arrays out of a page, as the browser makes them: a twin of browser/data.js."""

from __future__ import annotations

import base64
import zlib
from typing import Any

import numpy as np


def unpacked(packed: dict[str, Any]) -> np.ndarray:
    """The array that `page.packing` has packed."""
    planes = np.frombuffer(zlib.decompress(base64.b64decode(packed["data"])), dtype=np.uint8)
    raw = planes.reshape(packed["width"], -1).T.tobytes()
    if packed["step"] == 0:
        return np.frombuffer(raw, dtype="<f4").reshape(packed["shape"])
    whole = np.frombuffer(raw, dtype=f"<i{packed['width']}").astype(np.int64)
    if packed["run"] and whole.size:
        whole = whole.reshape(-1, *packed["run"]).cumsum(axis=1)
    return whole.reshape(packed["shape"]) * packed["step"]
