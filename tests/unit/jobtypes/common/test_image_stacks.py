from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np

from jobtypes.common.image_stacks import OpenStacks


def test_another_process_opens_the_stacks_anew(stacks: dict[str, np.ndarray], tmp_path: Path) -> None:
    name = next(iter(stacks))
    (path,) = tmp_path.rglob(name)
    opened = OpenStacks((path,), (name,), limit=3)
    assert np.array_equal(opened.images(0), stacks[name])
    sent = pickle.dumps(opened)
    assert len(sent) < 1000  # no images among it
    received = pickle.loads(sent)
    assert np.array_equal(received.images(0), stacks[name])
    assert received._limit == 3
