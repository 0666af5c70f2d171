"""README keeps its promises: CI runs its second command, what it names exists, and CI skips no comparison with RELION."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest

from relion_jobs.contract.options import defaults
from relion_jobs.running.registry import project_registry
from relion_jobs.running.settings import known_options

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
RELION_TOMO = {"--tomo", "--real_subtomo", "--ios", "--auto_refine", "--split_random_halves"}
IMAGE_HANDLER = {"--force_header_angpix", "--rescale_angpix", "--new_box"}  # of RELION
TORCHRUN = ("--standalone", "--nproc-per-node", "--no-python")  # flags of another program
PAGES = [*(ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING", "CHANGELOG")), *sorted((ROOT / "docs").glob("*.md"))]


def commands(text: str) -> list[str]:
    """The fenced shell commands of a page."""
    return re.findall(r"^```sh\n(.*?)\n```$", text, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("number", [0, 1])
def test_the_first_two_commands_are_one_line_each_and_install_the_tested_versions(number):
    command = commands(README)[number]
    assert "\n" not in command
    assert command.startswith("python3 -m venv .venv && .venv/bin/pip install -c constraints.txt ")


def test_the_first_command_runs_the_main_job():
    assert commands(README)[0].endswith("&& .venv/bin/relion_jobs demo")


def test_the_first_command_can_be_run_again(tmp_path, monkeypatch):
    from jobtypes.simulate import demo

    started = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(demo, "_run", lambda project, words: started.append(project.name))
    monkeypatch.setattr(demo, "_score", lambda project: 0)
    assert [demo.main([]), demo.main([]), demo.main([])] == [0, 0, 0]
    assert list(dict.fromkeys(started)) == ["demo", "demo2", "demo3"]


def test_ci_runs_the_second_command_as_it_stands():
    lines = (ROOT / ".ci" / "run").read_text().splitlines()
    assert commands(README)[1] in lines
    assert lines.index(commands(README)[1]) == len(lines) - 1
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


@pytest.mark.skipif(not os.environ.get("RELION_JOBS_REQUIRE_RELION"), reason="only CI must have RELION")
def test_the_programs_of_relion_that_tests_ask_for_are_there():
    sources = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    programs = set(re.findall(r'which\("(relion_\w+)"\)', sources))
    assert {"relion_project", "relion_reconstruct", "relion_postprocess"} <= programs
    assert [program for program in sorted(programs) if shutil.which(program) is None] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_and_picture_of_a_page_is_there_and_no_picture_is_large(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        name, _, anchor = target.partition("#")
        file = (page.parent / name) if name else page
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", file.read_text(), re.MULTILINE)
            assert anchor in [re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings], target
        if file.suffix == ".png":
            assert file.stat().st_size < 200_000, target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_option_that_a_page_sets_is_one_of_a_job_type(page):
    known = {name for kind in project_registry(None).load_all()[0] for name in defaults(known_options(kind))}
    assert set(re.findall(r"-o ([a-z]\w+)=", page.read_text())) <= known


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_flag_that_a_page_names_in_code_is_known(page):
    files = [path for folder in ("relion_jobs", "jobtypes", "benchmarks") for path in (ROOT / folder).rglob("*.*")]
    sources = "".join(path.read_text() for path in files if path.suffix in (".yaml", ".py"))
    flags = {flag for code in re.findall(r"`([^`\n]+)`", page.read_text()) for flag in re.findall(r"(?<!\S)--[a-z][\w-]+", code)}
    # of one switch argparse makes --X and --no-X
    ways = {flag: (f'"{flag}"', f": {flag}\n", f'"{flag.replace("--no-", "--", 1)}"') for flag in flags}
    unknown = {flag for flag, written in ways.items() if not any(way in sources for way in written)}
    assert unknown <= {"--dist", *TORCHRUN, *RELION_TOMO, *IMAGE_HANDLER}
