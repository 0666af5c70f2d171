from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import starfile
import torch

from jobtypes.dynamight.options import VisualizationOptions
from jobtypes.dynamight.visualization import drawn_movie, figures, to_files
from jobtypes.dynamight.visualization.landscape.figures import draw_landscape
from jobtypes.dynamight.visualization.landscape.overview import Overview, overview_of
from jobtypes.dynamight.visualization.landscape.stable_states import StableState
from jobtypes.dynamight.visualization.landscape.tables import write_landscape
from jobtypes.dynamight.visualization.session import Session
from relion_jobs.contract.errors import UserError


def state(place: tuple[float, ...], share: float) -> StableState:
    return StableState(place, share, 0.02, {1: share, 2: share}, 2.0)


def test_the_overview_of_a_job_has_both_motions_and_their_plane(flexible_job, forward) -> None:
    sessions = {half: Session(flexible_job.directory, forward, half) for half in (1, 2)}
    overview = overview_of(sessions, 1, seed=1)
    assert overview.landscapes[0].motions == (0,)
    for one in overview.landscapes:
        for population in one.populations.values():
            assert population.density.sum() * one.grid.cell == pytest.approx(1, abs=1e-4)
    assert overview.sentence().startswith("Populations: ")


def test_tables_and_figure_hold_what_was_found(crowd, tmp_path: Path) -> None:
    landscape = crowd("two_states", n=300).landscape
    states = [state((-3.6,), 0.6), state((3.6,), 0.4)]
    write_landscape(tmp_path / "landscape.star", [landscape], states)
    tables = starfile.read(tmp_path / "landscape.star", always_dict=True)
    assert np.allclose(tables["motion1"]["density"], landscape.mean, atol=1e-6)
    assert tables["motion1"]["energy_kT"].min() == pytest.approx(0)
    assert tables["stable_states"]["share_percent"].tolist() == [60, 40]
    draw_landscape([landscape], states, tmp_path / "landscape.png", half=1)
    assert (tmp_path / "landscape.png").stat().st_size > 10_000


def test_energies_are_those_of_the_density_along_the_first_motion_and_of_nobody_beyond_it(crowd) -> None:
    landscape = crowd("two_states", n=300).landscape
    overview = Overview((landscape,), ())
    (middles,) = landscape.grid.middles
    top = int(landscape.mean.argmax())
    beside = top + 1 if landscape.mean[top + 1] > landscape.mean[top - 1] else top - 1
    places = torch.tensor([[middles[top], 9.0], [middles[beside], 0.0], [1e3, 0.0]])
    energies = overview.energies_kt(places)
    assert energies[:2] == pytest.approx([0, -np.log(landscape.mean[beside] / landscape.mean[top])], abs=0.01)
    assert np.isnan(energies[2])


def test_a_path_needs_two_states_that_are_there(crowd) -> None:
    overview = Overview((crowd("two_states", n=300).landscape,), (state((-3.6,), 0.6), state((3.6,), 0.4)))
    assert overview.path(1, 2, 5)[:, 0] == pytest.approx([-3.6, -1.8, 0, 1.8, 3.6], abs=0.2)
    assert "1 at -3.6 A with 60 +- 2 %; 2 at +3.6 A" in overview.sentence()
    with pytest.raises(UserError, match="There is no stable state 3; 2 were found"):
        overview.path(1, 3, 5)
    with pytest.raises(UserError, match="has no length"):
        overview.path(2, 2, 5)


def test_an_option_that_names_no_two_states_is_refused() -> None:
    assert VisualizationOptions.from_values({}).path_ends is None
    assert VisualizationOptions.from_values({"path_between": "2:1"}).path_ends == (2, 1)
    with pytest.raises(UserError, match="expected the numbers of two stable states"):
        _ = VisualizationOptions.from_values({"path_between": "1-2"}).path_ends


def test_a_path_becomes_maps_a_movie_and_a_figure(flexible_job, forward, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawn_movie, "ANIMATION_PIXELS", 60)
    monkeypatch.setattr(drawn_movie, "LEAST_PICTURES", 3)
    monkeypatch.setattr(figures, "_PIXELS", 60)
    session = Session(flexible_job.directory, forward, 1)
    found = overview_of({1: session, 2: Session(flexible_job.directory, forward, 2)}, 1, seed=1)
    ends = [tuple(session.coordinates[particle, : len(found.widest.motions)].tolist()) for particle in (0, 1)]
    monkeypatch.setattr(
        to_files, "overview_of", lambda *_, **__: Overview(found.landscapes, tuple(state(end, 0.5) for end in ends))
    )
    options = VisualizationOptions.from_values({"path_between": "1:2", "n_frames": 3})
    written = to_files.show_landscape(session, options, flexible_job)
    assert [one.name for one in written] == [f"path from stable state 1 to 2, {number} of 3" for number in (1, 2, 3)]
    for one, end in ((written[0], ends[0]), (written[-1], ends[1])):
        assert one.coordinates[: len(end)].tolist() == pytest.approx(end, abs=1e-3)
    folder = flexible_job.directory / "visualization"
    assert (folder / "figures/07_path01to02_half1.png").is_file()
    assert (folder / "figures/01_populations_half1.png").is_file()
    assert (folder / "landscape_half1.star").is_file()


def test_a_path_along_one_motion_stays_where_the_particles_are(flexible_job, forward) -> None:
    session = Session(flexible_job.directory, forward, 1)
    way = np.linspace(*np.percentile(session.coordinates[:, 0].numpy(), (10, 90)), 5)[:, None]
    path = session.states_on(way)
    assert path[:, 0].tolist() == pytest.approx(way[:, 0].tolist(), abs=1e-5)
    assert not session.outside(path).any()
