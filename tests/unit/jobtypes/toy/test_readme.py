"""jobtypes/README.md works as it stands: a folder made of its code blocks is a job type that runs."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

README = Path(__file__).parents[4] / "jobtypes" / "README.md"


def test_the_five_steps_make_a_job_type_that_runs(project):
    text = README.read_text()
    assert re.findall(r"^## (\d)\.", text, re.MULTILINE) == ["1", "2", "3", "4", "5"]
    folder = project.path.parent / "plugins" / "stamp"
    folder.mkdir()
    for name in re.findall(r"^## \d\. .*`stamp/(.+)`$", text, re.MULTILINE):
        (folder / name).write_text(block_after(text, f"`stamp/{name}`\n"))
    (project.path / "hello.txt").write_text("hello\n")

    job = ""
    for line in block_after(text, "## 5.").splitlines():
        line = line.removeprefix("job=$(").removesuffix(")").replace("$job", job)
        program, *words = shlex.split(line)
        done = project.call(*words)
        assert program == "relion_jobs"
        assert done.returncode == 0, done.stderr
        job = done.stdout.strip() if words[0] == "new" else job

    assert project.text(f"{job}stamped.txt") == "hello\nhello\n"
    assert project.text(f"{job}signed.txt") == "hello\nhello\nsigned\n"
    assert f"{job}signed.txt ProcessData.txt.signed" in project.text("default_pipeline.star")
    assert project.status(job) == "Succeeded"


def test_its_entry_point_has_the_name_that_the_runner_looks_for():
    from relion_jobs.running.registry import ENTRY_POINTS

    assert f'[project.entry-points."{ENTRY_POINTS}"]' in block_after(README.read_text(), "## 4.")


def block_after(text: str, heading: str) -> str:
    """The first fenced block behind a heading."""
    return re.search(r"```\w+\n(.*?)```", text[text.index(heading) :], re.DOTALL)[1]
