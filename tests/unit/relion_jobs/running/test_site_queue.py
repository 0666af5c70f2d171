"""The queues of the guide's examples, and what they print."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from relion_jobs.contract.errors import UserError
from relion_jobs.contract.labels import EXIT_ABORTED, EXIT_FAILURE
from relion_jobs.ondisk.site import Site, read_site
from relion_jobs.running import site_queue
from relion_jobs.running.queue_protocol import QueuedJob
from relion_jobs.running.site_queue import SiteQueue

GUIDE = Path(__file__).parents[4] / "docs" / "guide.md"
SGE = "job-ID  prior   name       user         state submit/start at     queue     slots ja-task-ID\n---\n"
LSF = "JOBID   USER    STAT  QUEUE      FROM_HOST   EXEC_HOST   JOB_NAME   SUBMIT_TIME\n"


def site_of(folder: Path, word: str) -> Site:
    """The site.yaml of the guide in which this word stands."""
    blocks = re.findall(r"```yaml\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    (folder / "site.yaml").write_text(next(block for block in blocks if word in block))
    return read_site(folder, {})


def pbs(folder: Path) -> Site:
    return site_of(folder, "[qstat, -f,")


def lsf(folder: Path) -> Site:
    return site_of(folder, "[bjobs,")


def sge(folder: Path) -> Site:
    return site_of(folder, "[qstat]")


def answer(monkeypatch, code: int, text: str) -> list[list[str]]:
    asked: list[list[str]] = []
    monkeypatch.setattr(site_queue, "_ask", lambda words, *, fresh: asked.append(words) or (code, text))
    return asked


@pytest.mark.parametrize(
    ("queue", "said", "code", "text", "state"),
    [
        (pbs, "12.server", 0, "Job Id: 12.server\n    job_state = Q\n", "waits"),
        (pbs, "12.server", 0, "Job Id: 12.server\n    job_state = R\n", "runs"),
        (pbs, "12.server", 0, "Job Id: 12.server\n    job_state = C\n", "ended"),
        (pbs, "12.server", 35, "qstat: 12.server Job has finished, use -x or -H to obtain historical job information", "ended"),
        (pbs, "12.server", 153, "qstat: Unknown Job Id 12.server", "ended"),
        (pbs, "12.server", 255, "qstat: cannot connect to server (errno=111)", "unknown"),
        (lsf, "Job <12> is submitted to queue <gpu>.", 0, LSF + "12      me      PEND  gpu        host1", "waits"),
        (lsf, "Job <12> is submitted to queue <gpu>.", 0, LSF + "12      me      SSUSP gpu        host1", "runs"),
        (lsf, "Job <12> is submitted to queue <gpu>.", 0, LSF + "12      me      EXIT  gpu        host1", "ended"),
        (lsf, "Job <12> is submitted to queue <gpu>.", 255, "Job <12> is not found", "ended"),
        (lsf, "Job <12> is submitted to queue <gpu>.", 255, "LSF is down. Please wait ...", "unknown"),
        (sge, 'Your job 12 ("x") has been submitted', 0, SGE + "     12 0.0000 run_submit me   qw    11/22/2026", "waits"),
        (sge, 'Your job 12 ("x") has been submitted', 0, SGE + "     12 0.5550 run_submit me   Eqw   11/22/2026", "waits"),
        (sge, 'Your job 12 ("x") has been submitted', 0, SGE + "     12 0.5550 run_submit me   r     11/22/2026", "runs"),
        (sge, 'Your job 12 ("x") has been submitted', 0, SGE + "    112 0.5550 run_submit me   r     11/22/2026", "ended"),
        (sge, 'Your job 12 ("x") has been submitted', 0, "", "ended"),
        (sge, 'Your job 12 ("x") has been submitted', 1, "error: commlib error: got select error", "unknown"),
    ],
)
def test_the_examples_of_the_guide_read_what_their_queues_print(tmp_path, monkeypatch, queue, said, code, text, state):
    site = SiteQueue(queue(tmp_path))
    asked = answer(monkeypatch, code, text)
    job = QueuedJob(tmp_path / "run_submit.script", said=said, is_mine=True)
    number = "12.server" if queue is pbs else "12"
    found = site.standing(job, fresh=True)
    assert (found.state, found.number, found.mark) == (state, number, EXIT_FAILURE)
    assert asked == [{pbs: ["qstat", "-f", "12.server"], lsf: ["bjobs", "12"], sge: ["qstat"]}[queue]]
    assert site.cancel_command(number)[-1] == number


def test_that_a_queue_lists_a_job_no_more_says_nothing_of_a_job_of_somebody_else(tmp_path, monkeypatch):
    answer(monkeypatch, 0, "")
    job = QueuedJob(tmp_path / "run_submit.script", said="12", is_mine=False)
    assert SiteQueue(sge(tmp_path)).standing(job, fresh=True).state == "unknown"


def test_a_job_that_was_asked_to_stop_and_has_ended_was_aborted(tmp_path, monkeypatch):
    answer(monkeypatch, 153, "qstat: Unknown Job Id 12")
    job = QueuedJob(tmp_path / "run_submit.script", said="12", is_mine=True, is_to_stop=True)
    assert SiteQueue(pbs(tmp_path)).standing(job, fresh=True).mark == EXIT_ABORTED


def test_without_a_status_command_or_a_number_nobody_is_asked(tmp_path):
    job = QueuedJob(tmp_path / "run_submit.script", said="thank you")
    assert SiteQueue(pbs(tmp_path)).standing(job, fresh=True).sentence.endswith("said 'thank you'")
    job = QueuedJob(tmp_path / "run_submit.script", said="12")
    assert SiteQueue(Site()).standing(job, fresh=True).state == "unknown"


def test_a_queue_is_not_asked_more_often_than_it_should_be_nor_without_end(tmp_path):
    words = ["sh", "-c", f"echo x >> {tmp_path}/asked"]
    for fresh in (False, False, False, True):
        site_queue._ask(words, fresh=fresh)
    assert (tmp_path / "asked").read_text() == "x\nx\n"
    assert site_queue._ask(["/nix/qstat"], fresh=True) is None


def test_the_number_is_put_behind_a_cancel_command_that_does_not_say_where():
    assert SiteQueue(Site(queue_cancel_command=("qdel", "-W", "force"))).cancel_command("7") == ["qdel", "-W", "force", "7"]
    assert SiteQueue(Site(queue_cancel_command=("kill", "--job={id}", "now"))).cancel_command("7") == ["kill", "--job=7", "now"]
    with pytest.raises(UserError, match="give queue_cancel_command in site"):
        SiteQueue(Site()).cancel_command("7")
