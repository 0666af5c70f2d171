import subprocess
import sys
import time

import pytest

from relion_jobs.ondisk.owner import Owner, ago


def test_an_owner_is_found_in_the_text_that_it_writes():
    owner = Owner.this_process()
    found = Owner.find(f"relion_jobs: add a job ({owner})\n")
    assert (found.pid, found.host) == (owner.pid, owner.host)
    assert abs(found.since - owner.since) < 1


@pytest.mark.parametrize("text", ["", "runJob: DynaMight/job002/", "process x on y since z"])
def test_the_text_of_relion_names_no_owner(text):
    assert Owner.find(text) is None


def test_this_process_lives():
    assert not Owner.this_process().is_dead()


def test_a_process_that_has_ended_is_dead_even_before_its_parent_asks():
    child = subprocess.Popen([sys.executable, "-c", ""])
    host = Owner.this_process().host
    time.sleep(0.5)
    assert Owner(child.pid, host, 0).is_dead() or child.poll() is None
    child.wait()
    assert Owner(child.pid, host, 0).is_dead()


def test_of_other_machines_we_know_nothing():
    assert not Owner(1, "elsewhere", 0).is_dead()


@pytest.mark.parametrize(
    ("seconds", "words"), [(5, "5 s ago"), (61, "1 minute ago"), (7300, "2 hours ago"), (90000, "1 day ago")]
)
def test_times_are_told_in_words(seconds, words):
    assert ago(time.time() - seconds) == words
