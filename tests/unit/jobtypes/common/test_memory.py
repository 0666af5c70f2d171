from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest

from jobtypes.common.memory import available_memory_bytes

GIGABYTE = 1 << 30


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A machine with 8 GB available, of which 1 GB is free."""
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/meminfo").write_text(f"MemTotal: 16777216 kB\nMemFree: 1048576 kB\nMemAvailable: {8 << 20} kB\n")
    return tmp_path


def add_group(machine: Path, group: str, limit: str, used: int, cached: int) -> None:
    (machine / "proc/self/cgroup").write_text(f"0::/{group}\n")
    folder = machine / "sys/fs/cgroup" / group
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.max").write_text(limit + "\n")
    (folder / "memory.current").write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 5\ninactive_file {cached}\n")


def test_cached_files_count_as_available(machine: Path):
    assert available_memory_bytes(machine) == 8 * GIGABYTE


def test_the_limit_of_a_queue_counts(machine: Path):
    add_group(machine, "slurm/job_7", str(4 * GIGABYTE), used=3 * GIGABYTE, cached=GIGABYTE)
    assert available_memory_bytes(machine) == 2 * GIGABYTE


def test_a_group_without_limit_leaves_what_the_one_around_it_leaves(machine: Path):
    add_group(machine, "slurm", str(3 * GIGABYTE), used=GIGABYTE, cached=0)
    add_group(machine, "slurm/job_7", "max", used=GIGABYTE, cached=0)
    assert available_memory_bytes(machine) == 2 * GIGABYTE


def test_an_overfull_group_leaves_nothing(machine: Path):
    add_group(machine, "job", str(GIGABYTE), used=2 * GIGABYTE, cached=0)
    assert available_memory_bytes(machine) == 0


def test_without_the_kernels_tables_it_is_half_of_all_memory(tmp_path: Path):
    assert available_memory_bytes(tmp_path) == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


_FAULTS = """
import resource, torch
from jobtypes.common.memory import keep_freed_memory
if {keep}:
    assert keep_freed_memory()
before = []
for _ in range(10):
    before.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
    one, other = torch.ones(1 << 24), torch.ones(1 << 24)
    del one, other
print(before[-1] - before[-2])
"""


def faults(*, keep: bool) -> int:
    """Pages that the system maps for two tensors of 64 MB, after others of the same size were freed."""
    words = [sys.executable, "-c", _FAULTS.format(keep=keep)]
    return int(subprocess.run(words, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="another C library than that of GNU")
def test_freed_memory_is_taken_again_without_the_system():
    assert faults(keep=True) < 0.1 * faults(keep=False)
