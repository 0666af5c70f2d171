"""A page of a small job, and a browser that has opened it."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from jobtypes.dynamight.model.result import ForwardResult, load_centred_result
from jobtypes.dynamight.visualization import reductions
from jobtypes.dynamight.visualization.page.assembling import write_page
from jobtypes.dynamight.visualization.page.contents import page_content
from tests.trained_job import JOB, write_particles

_MUST_BE_THERE = os.environ.get("RELION_JOBS_REQUIRE_BROWSER") == "1"
_PATIENCE_SECONDS = 30
# no window, no sandbox (CI is root in a container), and OpenGL on the processor
_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--window-size=1300,1000",
)


@dataclass
class Shown:
    """A page in a browser.

    Attributes
    ----------
    driver
        Of selenium.
    job
        The job of the page, in the working directory of its project.
    forward
        Its training.
    downloads
        Where files go that are saved.
    """

    driver: Any
    job: Any
    forward: ForwardResult
    downloads: Path

    def run(self, script: str, *arguments: object) -> Any:
        """What a script returns, in which `page` is the explorer."""
        return self.driver.execute_script(f"const page = window.shown; {script}", *arguments)

    def click(self, selector: str) -> None:
        self.driver.find_element("css selector", selector).click()

    def choose(self, name: str, value: object) -> None:
        """Take an entry of a list."""
        self.run("const list = document.getElementById(arguments[0]); list.value = arguments[1]; list.onchange();", name, value)

    def wait_until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not condition():
            assert time.monotonic() < deadline, "waited in vain"
            time.sleep(0.05)

    def saved(self, name: str) -> bytes:
        """A file that was saved, once it is there whole; it is removed."""
        path = self.downloads / name
        self.wait_until(lambda: path.is_file() and path.stat().st_size > 0 and not list(self.downloads.glob("*.crdownload")))
        content = path.read_bytes()
        path.unlink()
        return content

    def complaints(self) -> list[str]:
        """Errors and warnings in the console."""
        return [entry["message"] for entry in self.driver.get_log("browser") if "GPU stall" not in entry["message"]]

    def requested(self) -> list[str]:
        """Addresses that were asked for."""
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        return [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]


@pytest.fixture(scope="module")
def page_job(tmp_path_factory: pytest.TempPathFactory, build_checkpoint, recording_job) -> Iterator[Any]:
    """A job with a part that some particles lack, and its page; the working directory is its project."""
    project = tmp_path_factory.mktemp("page")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project)
        patch.setattr(reductions, "_umap", lambda latents, seed: latents[:, ::-1])  # umap-learn need not be installed
        write_particles(project, n_particles=60, box=24, pixel_size_angstroms=4.0)
        build_checkpoint(project, has_parts=True)
        job = recording_job(project, JOB, is_continue=True)
        content = page_content(load_centred_result(job.directory), job.directory, embedding="umap", n_clusters=3, seed=1)
        write_page(content, job.directory / "visualization/explore.html")
        yield job


def _browser(downloads: Path) -> Any:
    """Chromium, steered by selenium; tests are skipped where it is not installed, unless they must not be."""
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if program is None or driver is None:
        words = "Debian's packages chromium and chromium-driver are not installed."
        if _MUST_BE_THERE:
            pytest.fail(words)
        pytest.skip(words)
    webdriver = pytest.importorskip("selenium.webdriver")
    service = pytest.importorskip("selenium.webdriver.chrome.service")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for flag in _FLAGS:
        options.add_argument(flag)
    options.add_experimental_option(
        "prefs", {"download.default_directory": str(downloads), "download.prompt_for_download": False}
    )
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return webdriver.Chrome(options=options, service=service.Service(driver))


@pytest.fixture(scope="module")
def shown(page_job, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    """The page as file:// shows it."""
    downloads = tmp_path_factory.mktemp("downloads")
    driver = _browser(downloads)
    try:
        driver.set_script_timeout(_PATIENCE_SECONDS)
        driver.get((page_job.project / page_job.directory / "visualization/explore.html").as_uri())
        opened = driver.execute_async_script(
            "const done = arguments[0]; window.explorer.then((page) => { window.shown = page; done(''); }, (e) => done(e.stack));"
        )
        assert opened == ""
        yield Shown(driver, page_job, load_centred_result(page_job.directory), downloads)
    finally:
        driver.quit()
