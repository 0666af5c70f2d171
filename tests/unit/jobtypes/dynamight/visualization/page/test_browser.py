"""The page in a real browser: what it shows is what the model says, and nothing is asked of anybody else."""

from __future__ import annotations

import io
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from jobtypes.dynamight.visualization.given_states import states_of_latents
from jobtypes.dynamight.visualization.selection import in_polygon
from jobtypes.dynamight.visualization.session import Session

TOLERANCE_ANGSTROMS = 0.05
PAGE = Path("jobtypes/dynamight/visualization/page")


def panels(shown) -> list[dict]:
    """Of each panel: half set, vertices at rest and as they are, (m, 3) A."""
    found = shown.run(
        "return page.molecule.panels.map(({surface}) => ({half: surface.half.half, rest: Array.from(surface.rest), "
        "positions: Array.from(surface.positions)}));"
    )
    return [{"half": one["half"], **{key: np.reshape(one[key], (-1, 3)) for key in ("rest", "positions")}} for one in found]


def expected(shown, half: int, latent: object, rest: np.ndarray) -> np.ndarray:
    """Where the model has vertices (m, 3) A in the state of a latent."""
    model = shown.forward.halves[half].model
    points = torch.from_numpy(rest).float()
    return rest + model.displacement(torch.as_tensor(latent).float()[None], points)[0].double().numpy()


def point_on_screen(shown, share: tuple[float, float]) -> tuple[int, int]:
    """Pixels from the middle of the canvas of the latent space to a share of its width and height."""
    width, height = shown.run("const c = document.getElementById('latents'); return [c.clientWidth, c.clientHeight];")
    return round((share[0] - 0.5) * width), round((share[1] - 0.5) * height)


def drag(shown, shares: list[tuple[float, float]]) -> None:
    """Press, move through places of the latent space, release; a single place is a click."""
    from selenium.webdriver.common.action_chains import ActionChains

    canvas = shown.driver.find_element("id", "latents")
    shown.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", canvas)
    places = [point_on_screen(shown, share) for share in shares]
    actions = ActionChains(shown.driver, duration=20).move_to_element_with_offset(canvas, *places[0]).click_and_hold()
    for before, after in itertools.pairwise(places):
        actions = actions.move_by_offset(after[0] - before[0], after[1] - before[1])
    actions.release().perform()


@pytest.fixture
def at_start(shown):
    """The page with half 1 and the pointer that shows states."""
    shown.click("#views [data-name=one]")
    shown.click("#tools [data-name=look]")
    yield shown
    assert shown.complaints() == []


@pytest.fixture
def session(shown) -> Session:
    return Session(shown.job.directory, shown.forward, 1)


def test_nothing_but_the_page_is_asked_for(shown) -> None:
    assert {url.split(":")[0] for url in shown.requested()} <= {"file", "data", "blob"}
    assert shown.complaints() == []
    assert "Refused" not in shown.driver.page_source[:2000]


def test_a_click_in_the_latent_space_moves_the_vertices_as_the_model_says(at_start) -> None:
    drag(at_start, [(0.35, 0.6)])
    first = at_start.run("return [page.state.latent, Array.from(page.state.coordinates), page.latents.marks.state];")
    (panel,) = panels(at_start)
    model = expected(at_start, 1, first[0], panel["rest"])
    assert np.abs(panel["positions"] - model).max() < TOLERANCE_ANGSTROMS
    assert np.abs(model - panel["rest"]).max() > 1  # it did move
    assert first[1][:2] == pytest.approx(first[2], abs=1e-6)


def test_the_state_is_that_of_the_place_that_was_clicked(at_start, session: Session) -> None:
    drag(at_start, [(0.55, 0.5)])
    wanted = at_start.run("return page.latents.stroke.length ? null : page.latents.marks.state;")
    latent = at_start.run("return page.state.latent;")
    coordinates = session.latent_states(torch.tensor([latent]))[0, :2].tolist()
    assert coordinates == pytest.approx(wanted, abs=0.02)


def test_dragging_shows_state_after_state(at_start) -> None:
    drag(at_start, [(0.3, 0.5), (0.4, 0.5), (0.6, 0.45)])
    at_start.wait_until(lambda: at_start.run("return page.latents.wanted === undefined;"))
    (panel,) = panels(at_start)
    latent = at_start.run("return page.state.latent;")
    assert np.abs(panel["positions"] - expected(at_start, 1, latent, panel["rest"])).max() < TOLERANCE_ANGSTROMS


def test_a_main_motion_plays_between_its_ends(at_start, session: Session) -> None:
    at_start.click("#motions [data-name='0']")
    places: set[float] = set()

    def seen() -> bool:
        places.add(round(at_start.run("return page.state.coordinates[0];"), 2))
        return len(places) > 5

    at_start.wait_until(seen)
    at_start.click("#play")
    assert not at_start.run("return page.player.playing;")
    ends = np.percentile(session.coordinates[:, 0].numpy(), (2, 98))
    assert ends[0] - 0.1 <= min(places)
    assert max(places) <= ends[1] + 0.1
    first, last = at_start.run("return [0, 40].map((at) => page.half.state(page.path[at]).coordinates[0]);")
    assert [first, last] == pytest.approx(ends.tolist(), abs=0.1)


def test_a_path_that_was_drawn_is_saved_as_states_that_the_task_takes(at_start, session: Session, tmp_path: Path) -> None:
    at_start.click("#tools [data-name=path]")
    drag(at_start, [(0.3, 0.6), (0.45, 0.5), (0.6, 0.45), (0.7, 0.5)])
    at_start.click("#save-path")
    listed = tmp_path / "latents.txt"
    listed.write_bytes(at_start.saved("latents.txt"))
    states = torch.stack([state.coordinates for state in states_of_latents(session, listed)])
    shown_states = at_start.run("return page.path.map((latent) => Array.from(page.half.state(latent).coordinates));")
    assert len(states) == 41
    assert np.allclose(states.numpy(), shown_states, atol=0.02)


def test_the_way_between_two_states_ends_at_them(at_start) -> None:
    ends = []
    for pin, share in (("#pin-a", (0.3, 0.55)), ("#pin-b", (0.7, 0.45))):
        drag(at_start, [share])
        at_start.click(pin)
        ends.append(at_start.run("return Array.from(page.state.coordinates.slice(0, 2));"))
    at_start.click("#between")
    at_start.click("#play")
    found = at_start.run("return [0, 40].map((at) => Array.from(page.half.state(page.path[at]).coordinates.slice(0, 2)));")
    assert np.allclose(found, ends, atol=0.05)


def test_a_lasso_counts_particles_and_saves_their_numbers(at_start, session: Session, tmp_path: Path) -> None:
    at_start.click("#tools [data-name=lasso]")
    drag(at_start, [(0.25, 0.25), (0.7, 0.25), (0.7, 0.8), (0.25, 0.8)])
    polygon = np.array(at_start.run("return page.latents.lasso;"))
    inside = in_polygon(session.coordinates[:, :2].double().numpy(), polygon)
    at_start.click("#save-rows")
    lines = at_start.saved("rows.txt").decode().splitlines()
    numbers = [int(line) for line in lines if not line.startswith("#")]
    assert numbers == (session.part.rows[inside] + 1).tolist()
    assert f"{inside.sum()} of 30 particles" in at_start.driver.find_element("id", "count").text
    at_start.click("#save-corners")
    corners = [line.split() for line in at_start.saved("corners.txt").decode().splitlines() if not line.startswith("#")]
    assert np.allclose(np.array(corners, dtype=float), polygon, atol=1e-3)


def test_both_half_sets_show_the_state_that_moves_the_density_alike(at_start) -> None:
    drag(at_start, [(0.4, 0.5)])
    at_start.click("#views [data-name=both]")
    own, other = panels(at_start)
    assert (own["half"], other["half"]) == (1, 2)
    assert np.isfinite(other["positions"]).all()


def test_a_held_out_particle_is_shown_as_both_models_see_it(at_start) -> None:
    at_start.click("#views [data-name=heldOut]")
    drag(at_start, [(0.5, 0.5)])
    particle = at_start.run("return page.state.particle;")
    part = at_start.forward.halves[1]
    assert part.held_out[particle]
    by_other = part.latent_by_other[int(part.held_out[:particle].sum())]
    for panel, half, latent in zip(panels(at_start), (1, 2), (part.latent_mean[particle], by_other), strict=True):
        assert panel["half"] == half
        assert np.abs(panel["positions"] - expected(at_start, half, latent, panel["rest"])).max() < TOLERANCE_ANGSTROMS


def test_a_part_that_is_switched_off_fades(at_start) -> None:
    there = "return Array.from(page.molecule.panels[0].surface.presence);"
    assert min(at_start.run(there)) == 1
    at_start.click("[data-part='1']")
    assert sorted(set(at_start.run(there))) == [0, 1]
    at_start.click("[data-part='1']")


def test_every_colour_axis_and_contour_can_be_chosen_on_light_and_dark_ground(at_start) -> None:
    entries = {
        name: at_start.run("return Array.from(document.getElementById(arguments[0]).options, (entry) => entry.value);", name)
        for name in ("surface-colour", "contour", "axes", "particle-colour")
    }
    assert set(entries["surface-colour"]) == {"displacement", "mobility", "disagreement", "plain"}
    assert set(entries["particle-colour"]) >= {"displacement", "quality", "error", "occupancy", "cluster", "view", "density"}
    for name, values in entries.items():
        for value in values:
            at_start.choose(name, value)
        at_start.choose(name, values[0])
    grounds = set()
    for _ in range(2):
        at_start.click("#theme")
        grounds.add(at_start.run("return getComputedStyle(document.body).backgroundColor;"))
    assert len(grounds) == 2


def test_a_stable_state_is_shown_at_its_place_along_the_main_motions(at_start) -> None:
    place, coordinates = at_start.run(
        "return [page.half.populations.states[0].place, Array.from(page.half.stableState(0).coordinates)];"
    )
    assert coordinates[: len(place)] == pytest.approx(place, abs=0.05)
    headings = [node.text for node in at_start.driver.find_elements("css selector", "#overview h2")]
    assert "Populations" in headings


def test_a_picture_of_the_view_is_no_blank(at_start) -> None:
    at_start.click("#picture")
    picture = np.asarray(Image.open(io.BytesIO(at_start.saved("molecule.png"))).convert("L"))
    assert picture.std() > 5


def test_the_job_at_a_glance_stands_below(at_start) -> None:
    headings = [node.text for node in at_start.driver.find_elements("css selector", "#overview h2")]
    assert headings[0] == "What was found"
    assert {"Particles", "Inputs and options"} <= set(headings)
    assert at_start.driver.find_element("id", "headline").text
