"""Makes the pictures of the guide: ``python docs/make_pictures.py demo JOB_DIR``.

From a finished demo project, quality and occupancy of particles from a job on simulated particles of the preset ``real``. The
page of the job is photographed in Debian's chromium, with its chromium-driver.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import torch
from PIL import Image

from jobtypes.common.particle_images import ParticleImages
from jobtypes.common.particles import read_particles
from jobtypes.common.volumes import read_volume
from jobtypes.dynamight.figures import label_panels, new_figure, save_figure
from jobtypes.dynamight.model.gaussians import automatic_threshold
from jobtypes.dynamight.model.result import load_centred_result
from jobtypes.dynamight.visualization.figures import Portrait, Scene, cameras_for
from jobtypes.dynamight.visualization.session import Session

PICTURES = Path(__file__).resolve().parent / "pictures"
JOB = Path("DynaMight/job002")
FIGURES = {
    "training": "forward_deformations/figures/01_training.png",
    "gaussians": "forward_deformations/figures/03_gaussians.png",
    "latents": "visualization/figures/01_latents_half1.png",
    "states": "visualization/figures/04_motion01_half1.png",
    "round_trip": "inverse_deformations/figures/02_round_trip.png",
    "maps": "backprojection/figures/maps.png",
    "fsc": "backprojection/figures/fsc.png",
}
QUALITY, OCCUPANCY = "forward_deformations/figures/05_quality.png", "forward_deformations/figures/06_occupancy.png"
WIDTH, COLOURS = 1000, 128
PAGE_PIXELS = (1400, 900)


def main(project: str, real_job: str) -> None:
    """Draw the overview, and copy the jobs' own figures with fewer pixels and colours."""
    PICTURES.mkdir(exist_ok=True)
    shrink(Path(real_job) / QUALITY, PICTURES / "quality.png")
    shrink(Path(real_job) / OCCUPANCY, PICTURES / "occupancy.png")
    os.chdir(project)
    draw_overview(PICTURES / "overview.png")
    for name, source in FIGURES.items():
        shrink(JOB / source, PICTURES / f"{name}.png")
    shrink(PICTURES / "overview.png", PICTURES / "overview.png")
    photograph(JOB / "visualization/explore.html", PICTURES / "page.png")
    shrink(PICTURES / "page.png", PICTURES / "page.png")


def draw_overview(path: Path) -> None:
    """A particle, the rigid and the deformed map at one contour level, and the two ends of the first main motion."""
    forward = load_centred_result(JOB)
    session = Session(JOB, forward, 1)
    ends = session.traversal(0, 3)
    first, middle, last = (session.state_positions(end) for end in ends)
    maps = {name: read_volume(JOB / "backprojection" / f"{name}_filtered.mrc").data for name in ("rigid", "map")}
    front, _ = cameras_for(torch.cat([first, middle, last]), last - first, 300)
    largest = float((last - middle).norm(dim=1).quantile(0.99))
    scene = Scene((front,), automatic_threshold(maps["map"]), largest, session.pixel_size_angstroms)
    still = torch.zeros(len(middle))
    portraits = [
        Portrait(maps["rigid"], middle, still, "rigid map"),
        Portrait(maps["map"], middle, still, "deformed map"),
        Portrait(session.state_map(ends[0]), first, (first - middle).norm(dim=1), "one end"),
        Portrait(session.state_map(ends[2]), last, (last - middle).norm(dim=1), "other end"),
    ]
    table = read_particles(forward.star_file)
    image = ParticleImages(table, Path.cwd()).read(session.part.rows[:1])[0]
    figure, axes = new_figure(1, 5, width=9.0, height=1.75, width_ratios=(2, 3, 3, 3, 3))
    axes[0, 0].imshow(image, cmap="gray", origin="lower")
    axes[0, 0].set_title("a particle")
    for axis, portrait in zip(axes[0, 1:], portraits, strict=True):
        picture = scene.pictures(portrait)[0]
        margin = len(picture) // 6
        axis.imshow(picture[margin:-margin])
        axis.set_title(portrait.label)
    for axis in axes[0]:
        axis.set_axis_off()
    label_panels(axes[0])
    save_figure(figure, path, title="Overview", caption="Simulated particles of a molecule with one hinged arm.")


def photograph(page: Path, target: Path) -> None:
    """Save what a browser shows first of a page."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    flags = ("--headless=new", "--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--hide-scrollbars")
    for flag in (*flags, f"--window-size={PAGE_PIXELS[0]},{PAGE_PIXELS[1]}"):
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        driver.get(page.absolute().as_uri())
        driver.execute_async_script("const done = arguments[0]; window.explorer.then(() => setTimeout(done, 1000));")
        driver.save_screenshot(str(target))
    finally:
        driver.quit()


def shrink(source: Path, target: Path) -> None:
    """Copy a picture with at most `WIDTH` pixels across and `COLOURS` colours."""
    with Image.open(source) as image:
        picture = image.convert("RGB")
    scale = min(1.0, WIDTH / picture.width)
    small = picture.resize((round(picture.width * scale), round(picture.height * scale)), Image.Resampling.LANCZOS)
    small.quantize(COLOURS).save(target, optimize=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
