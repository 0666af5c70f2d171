"""The page in Firefox: it opens from disk, shows what the model says, plays, and asks nobody for anything."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from jobtypes.dynamight.model.result import load_centred_result
from tests.firefox import Firefox

_PATIENCE_SECONDS = 60
_PLACE = (
    "(() => { const r = document.getElementById('latents').getBoundingClientRect(); return [r.x, r.y, r.width, r.height]; })()"
)
_PANEL = "(({surface}) => [Array.from(surface.rest), Array.from(surface.positions)])(window.shown.molecule.panels[0])"


@pytest.fixture(scope="module")
def firefox(page_job, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Firefox]:
    with Firefox(tmp_path_factory.mktemp("firefox")) as browser:
        browser.open(page_job.project / page_job.directory / "visualization/explore.html")
        opened = "window.explorer.then((page) => { window.shown = page; return ''; }, (error) => String(error))"
        assert browser.run(opened) == ""
        yield browser


def test_a_click_in_the_latent_space_moves_the_vertices_as_the_model_says(firefox: Firefox, page_job) -> None:
    x, y, width, height = firefox.run(_PLACE)
    firefox.click(x + 0.35 * width, y + 0.6 * height)
    latent = firefox.run("Array.from(window.shown.state.latent)")
    rest, shown = (np.reshape(values, (-1, 3)) for values in firefox.run(_PANEL))
    model = load_centred_result(page_job.directory).halves[1].model
    moved = model.displacement(torch.tensor([latent]), torch.from_numpy(rest).float())[0].double().numpy()
    assert np.abs(shown - rest - moved).max() < 0.05
    assert np.abs(moved).max() > 1


def test_a_main_motion_plays(firefox: Firefox) -> None:
    firefox.run("document.querySelector(\"#motions [data-name='0']\").click()")
    places: set[float] = set()
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while len(places) < 4:
        assert time.monotonic() < deadline
        places.add(round(firefox.run("window.shown.state.coordinates[0]"), 2))


def test_nothing_but_the_page_is_asked_for_and_nothing_complains(firefox: Firefox) -> None:
    assert {url.split(":")[0] for url in firefox.requested()} <= {"file", "data", "blob"}
    assert firefox.complaints() == []
