"""Memory that a task may still take, and how it takes it."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # malloc.h


def keep_freed_memory() -> bool:
    """Keep what this process frees for what it takes next; for a task that takes maps over and over, and ends.

    Blocks of more than 32 MB, such as maps of 208 voxels, else go back to the system as soon as they are freed, and every new one
    is filled with zeros and mapped page by page: a quarter of the time of a reconstruction at box 256. Returns whether the
    allocator was told so; that of the GNU C library can be.

    Source: mallopt(3).
    """
    library = ctypes.CDLL(None)
    if not hasattr(library, "mallopt"):
        return False
    return bool(library.mallopt(_M_MMAP_MAX, 0) and library.mallopt(_M_TRIM_THRESHOLD, -1))


def available_memory_bytes(root: Path = Path("/")) -> int:
    """Bytes that a program can take without swapping, within the limit of its control group (a container, a queue's job).

    Files that the kernel keeps cached count as available, as it gives them up when asked; "free" memory alone would be next to
    nothing after any large stack was read.

    Parameters
    ----------
    root
        Where the kernel's tables lie; another one for tests.

    Source: proc(5), MemAvailable; Linux cgroup v2, memory.max, memory.current and memory.stat. Elsewhere half of all memory.
    """
    try:
        whole = _entry(root / "proc/meminfo", "MemAvailable:") * 1024
    except (OSError, ValueError):
        whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    return max(0, min([whole, *_left_in_groups(root)]))


def _left_in_groups(root: Path) -> list[int]:
    """What each control group from this process's own to the outermost leaves, where it has a limit."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    own = next((line.removeprefix("0::/") for line in lines if line.startswith("0::/")), None)
    if own is None:
        return []
    top = root / "sys/fs/cgroup"
    left = []
    for group in (top / own, *(top / own).parents):
        try:
            used = int((group / "memory.current").read_text()) - _entry(group / "memory.stat", "inactive_file")
            left.append(int((group / "memory.max").read_text()) - used)
        except (OSError, ValueError):  # no such group from inside a container, or "max": no limit
            pass
        if group == top:
            break
    return left


def _entry(path: Path, name: str) -> int:
    """Number behind a name in a table of the kernel; ValueError where it is not there."""
    for line in path.read_text().splitlines():
        words = line.split()
        if words[:1] == [name]:
            return int(words[1])
    raise ValueError(f"{path} has no {name}")
