"""Our lock and the lock of a real RELION (Debian's 3.1) keep each other out."""

import shutil
import subprocess
import threading
import time

import pytest

from relion_jobs.ondisk import pipeline_star
from relion_jobs.ondisk.locks import project_lock

pytestmark = [
    pytest.mark.relion,
    pytest.mark.skipif(shutil.which("relion_pipeliner") is None, reason="needs relion_pipeliner on PATH"),
]

ADD = ("relion_pipeliner", "--addJob", "External", "--addJobOptions", "fn_exe == true")


@pytest.fixture
def project(tmp_path):
    (tmp_path / "default_pipeline.star").write_text(
        "\n# version 30001\n\ndata_pipeline_general\n\n_rlnPipeLineJobCounter                       1\n \n"
    )
    return tmp_path


def start(project):
    return subprocess.Popen(ADD, cwd=project, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def jobs(project):
    return [process.name for process in pipeline_star.read(project / "default_pipeline.star").processes]


def test_relion_waits_while_we_hold_the_lock_and_goes_on_when_we_give_it_back(project):
    with project_lock(project, "test"):
        child = start(project)
        time.sleep(1.0)
        assert child.poll() is None
        assert jobs(project) == []
    child.communicate(timeout=30)
    assert child.returncode == 0
    assert jobs(project) == ["External/job001/"]


def test_a_pipeline_that_we_rewrite_under_the_lock_loses_no_job_of_relion(project):
    path = project / "default_pipeline.star"
    stop = threading.Event()

    def rewrite():
        # a read-change-write of 20 ms: without the lock it would undo what RELION wrote meanwhile
        while not stop.is_set():
            with project_lock(project, "rewrite"):
                content = path.read_bytes()
                time.sleep(0.02)
                path.write_bytes(content)
            time.sleep(0.05)

    thread = threading.Thread(target=rewrite)
    thread.start()
    try:
        for number in range(1, 4):
            output, _ = start(project).communicate(timeout=60)
            assert len(jobs_under_lock(project)) == number, output
    finally:
        stop.set()
        thread.join()


def jobs_under_lock(project):
    with project_lock(project, "look"):
        return jobs(project)
