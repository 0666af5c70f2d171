from __future__ import annotations

import numpy as np
import pytest
import torch

from jobtypes.common.checkpoints import load_checkpoint, save_checkpoint
from jobtypes.common.star_tables import read_tables
from jobtypes.common.volumes import read_volume
from jobtypes.dynamight import layout
from jobtypes.dynamight.model.result import FORMAT_VERSION, KIND, load_centred_result
from jobtypes.dynamight.occupancy import occupancy_columns
from jobtypes.dynamight.outputs import write_forward_outputs


def test_every_particle_says_whether_it_has_the_part(job_with_parts) -> None:
    forward = load_centred_result(job_with_parts.directory)
    write_forward_outputs(forward, [], job_with_parts)
    written = read_tables(job_with_parts.directory / layout.PARTICLES)["particles"].read(numbers=("rlnDynamightOccupancy1",))
    expected = np.zeros(len(written["rlnDynamightOccupancy1"]))
    for part in forward.halves.values():
        expected[part.rows] = part.presence[:, 0]
    assert written["rlnDynamightOccupancy1"] == pytest.approx(expected, abs=1e-5)
    assert "rlnDynamightOccupancy2" not in read_tables(job_with_parts.directory / layout.PARTICLES)["particles"].columns


def test_the_part_is_told_drawn_and_mapped(job_with_parts) -> None:
    forward = load_centred_result(job_with_parts.directory)
    write_forward_outputs(forward, [], job_with_parts)
    (sentence,) = [line for line in job_with_parts.reports if line.startswith("Part 1")]
    assert "is missing in 35.0 % of half 1 and 35.0 % of half 2" in sentence
    assert (job_with_parts.directory / layout.OCCUPANCY_FIGURE).is_file()
    part, whole = (read_volume(job_with_parts.directory / path).data for path in (layout.part_map(1, 1), layout.consensus(1)))
    gaussians = forward.halves[1].model.gaussians
    share = float(gaussians.amplitudes[forward.halves[1].model.parts.membership[0] > 0].sum() / gaussians.amplitudes.sum())
    assert float(part.sum() / whole.sum()) == pytest.approx(share, rel=0.02)


def test_where_no_part_is_missing_it_is_said(forward, flexible_job) -> None:
    write_forward_outputs(forward, [], flexible_job)
    assert "No part of the molecule was found that some of the particles lack." in flexible_job.reports
    assert not (flexible_job.directory / layout.OCCUPANCY_FIGURE).exists()
    assert occupancy_columns(list(forward.halves.values())) == {}


def test_parts_of_both_halves_at_one_place_have_one_number(job_with_parts) -> None:
    forward = load_centred_result(job_with_parts.directory)
    assert [part.part_numbers for part in forward.halves.values()] == [(1,), (1,)]


def test_a_part_of_one_half_only_is_there_in_all_of_the_other(job_with_parts) -> None:
    path = job_with_parts.project / job_with_parts.directory / layout.FINAL_CHECKPOINT
    content = load_checkpoint(path, kind=KIND, version=FORMAT_VERSION)
    state = content["halves"][2]["model"]
    far = state["gaussians.positions"][:, 0] < -8.0  # another place
    state["parts.membership"] = far[None].float()
    save_checkpoint(path, content, kind=KIND, version=FORMAT_VERSION)
    forward = load_centred_result(job_with_parts.directory)
    assert [part.part_numbers for part in forward.halves.values()] == [(1,), (2,)]
    write_forward_outputs(forward, [], job_with_parts)
    assert any(line.endswith("; it was not found in half 2, where the column is 1.") for line in job_with_parts.reports)
    columns = occupancy_columns(list(forward.halves.values()))
    count = len(forward.halves[1].rows)
    assert columns["rlnDynamightOccupancy1"][count:].min() == 1
    assert columns["rlnDynamightOccupancy2"][:count].min() == 1
    assert columns["rlnDynamightOccupancy2"][count:].min() == pytest.approx(0.05)


def test_a_particle_lacks_what_it_rather_lacks_than_has(job_with_parts) -> None:
    part = load_centred_result(job_with_parts.directory).halves[1]
    assert part.lacking(0) == (1,)
    assert part.lacking(1) == ()
    there = part.there((1,))
    assert torch.equal(there == 0, part.model.parts.membership[0] > 0)
    assert float(part.there(()).min()) == 1
