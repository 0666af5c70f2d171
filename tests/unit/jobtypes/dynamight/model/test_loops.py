"""How compiled loops are shared among threads and kept on disk; what they work out is tested with `backend`."""

from __future__ import annotations

import numpy as np
import torch

from jobtypes.dynamight.model import loops


def test_more_threads_than_particles_are_not_used(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    calls = loops.over_particles(lambda ones, factor: factor * len(ones), (torch.ones(3, 2),), 2.0)
    assert calls == [2.0, 2.0, 2.0]


def test_a_loop_works_where_no_folder_may_be_written(monkeypatch):
    compile_it = loops.numba.njit

    def njit(*functions, **options):  # numba itself calls it with a function, where it is first used here
        if options.get("cache"):
            raise RuntimeError("cannot cache function: no locator available")
        return compile_it(*functions, **options)

    monkeypatch.setattr(loops.numba, "njit", njit)
    doubled = loops._loop(lambda values: values * 2)
    assert doubled(np.ones(2)).tolist() == [2.0, 2.0]


def test_a_loop_is_called_again_where_the_disk_has_no_room_to_keep_it():
    calls = []

    def loop(ones):
        calls.append(len(ones))
        if len(calls) == 1:
            raise OSError(28, "No space left on device")
        return len(ones)

    assert loops.over_particles(loop, (torch.ones(1, 2),)) == [1]
    assert calls == [1, 1]
