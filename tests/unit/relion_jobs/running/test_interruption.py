import os
import signal
import time

import pytest

from relion_jobs.contract.errors import JobAborted
from relion_jobs.running.interruption import Interruption


def test_the_abort_mark_is_a_reason_to_stop(tmp_path):
    mark = tmp_path / "RELION_JOB_ABORT_NOW"
    assert Interruption(mark).reason == ""
    mark.touch()
    assert "RELION_JOB_ABORT_NOW" in Interruption(mark).reason


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_is_a_reason_and_the_second_one_stops_at_once(tmp_path, number):
    before = signal.getsignal(number)
    interruption = Interruption(tmp_path / "mark")
    with interruption.listening():
        os.kill(os.getpid(), number)
        assert number.name in interruption.reason
        with pytest.raises(JobAborted, match="twice"):
            os.kill(os.getpid(), number)
    assert signal.getsignal(number) == before


def test_a_forked_child_of_the_task_still_dies_of_sigterm(tmp_path):
    ready, say_ready = os.pipe()
    with Interruption(tmp_path / "mark").listening():
        child = os.fork()
        if child == 0:
            # Python drops a signal that comes while it is still forking
            os.write(say_ready, b"x")
            while True:
                time.sleep(0.01)
        os.read(ready, 1)
        os.kill(child, signal.SIGTERM)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM
    os.close(ready)
    os.close(say_ready)
