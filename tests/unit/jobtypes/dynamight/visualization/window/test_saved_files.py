"""What the window saves."""

from __future__ import annotations

from pathlib import Path

import torch

from jobtypes.dynamight.visualization.session import Session
from jobtypes.dynamight.visualization.window.saved_files import save_state
from jobtypes.dynamight.visualization.written_states import read_states


def test_beside_the_map_of_a_state_stands_a_list_of_it(flexible_job) -> None:
    session = Session.open(flexible_job.directory, 1)
    path = save_state(session, session.coordinates[3], flexible_job)
    assert [Path(name).name for name in flexible_job.outputs] == ["map001_half1.mrc"]
    ((name, coordinates),) = read_states(path.with_suffix(".star"), len(session.motions))
    assert name == "map001_half1"
    torch.testing.assert_close(coordinates, session.coordinates[3], atol=0.006, rtol=0)
