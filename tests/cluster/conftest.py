"""A Slurm of our own on this machine: nodes with two cores and two make-believe GPUs each, no accounts, no munge."""

from __future__ import annotations

import ctypes
import getpass
import os
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

PROGRAMS = ("slurmctld", "slurmd", "sbatch", "squeue", "scancel", "scontrol")
# the daemons are kept where users' paths do not lead
WITH_SBIN = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
START_SECONDS, STOP_SECONDS = 60.0, 10.0
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG of prctl(2)

SLURM_CONF = """
ClusterName=test
SlurmctldHost=localhost(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/none
CredType=cred/none
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmctldPort={ports[0]}
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/slurmd.%n.pid
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool.%n
SlurmctldLogFile={root}/slurmctld.log
SlurmdLogFile={root}/slurmd.%n.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_min_interval=100000,sched_interval=1,bf_interval=1
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
KillWait=5
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
MailProg=/bin/true
GresTypes=gpu
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
NODE = "NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=2 RealMemory=2000 Gres=gpu:2 State=UNKNOWN\n"
GPUS_OF_NODE = "NodeName={node} Name=gpu File={root}/gpu[0-1]\n"


@dataclass
class Slurm:
    """A running Slurm and its commands."""

    root: Path
    environment: dict[str, str]

    def call(self, *words: str, check: bool = True) -> str:
        done = subprocess.run(words, env=os.environ | self.environment, capture_output=True, text=True, timeout=60, check=check)
        return done.stdout

    def facts(self, number: str) -> dict[str, str]:
        """What Slurm knows of a job."""
        return dict(word.partition("=")[::2] for word in self.call("scontrol", "show", "job", number, "--oneliner").split())


def require(condition: bool, variable: str, sentence: str) -> None:
    """Skip a test that lacks something, unless the variable says that it must be there."""
    if not condition and os.environ.get(variable):
        pytest.fail(f"{sentence} {variable} asks for it.")
    if not condition:
        pytest.skip(sentence)


@pytest.fixture(scope="session")
def slurm() -> Iterator[Slurm]:
    with running_slurm("localhost") as slurm:
        yield slurm


@pytest.fixture(scope="module")
def slurm_of_two_nodes() -> Iterator[Slurm]:
    with running_slurm("node1", "node2") as slurm:
        yield slurm


@contextmanager
def running_slurm(*nodes: str) -> Iterator[Slurm]:
    """A Slurm with these nodes, all of them this machine."""
    missing = [program for program in PROGRAMS if shutil.which(program, path=WITH_SBIN) is None]
    require(not missing, "RELION_JOBS_REQUIRE_SLURM", f"Slurm is not installed (no {', '.join(missing)}).")
    require(os.geteuid() == 0, "RELION_JOBS_REQUIRE_SLURM", "Slurm's daemon of a node must be started by root.")
    # short, since the names of sockets in it may not be long
    root = Path(tempfile.mkdtemp(prefix="slurm", dir="/tmp"))
    daemons: list[subprocess.Popen[bytes]] = []
    try:
        environment = {"SLURM_CONF": str(_configure(root, nodes)), "PATH": WITH_SBIN}
        slurm = Slurm(root, environment)
        daemons.append(_start(slurm, "slurmctld", "-c"))
        daemons += [_start(slurm, "slurmd", "-c", "-N", node) for node in nodes]
        _wait_until_idle(slurm, daemons)
        yield slurm
        _end_jobs(slurm)
    finally:
        _stop(daemons)
        shutil.rmtree(root, ignore_errors=True)


def _configure(root: Path, nodes: tuple[str, ...]) -> Path:
    for name in ("state", *(f"spool.{node}" for node in nodes)):
        (root / name).mkdir()
    for name in ("gpu0", "gpu1"):
        # devices that do nothing, as /dev/null; Slurm gives no number of a GPU that is no device
        os.mknod(root / name, stat.S_IFCHR | 0o666, os.makedev(1, 3))
    sockets = [socket.socket() for _ in range(1 + len(nodes))]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    facts: dict[str, Any] = {
        "root": root,
        "user": getpass.getuser(),
        "host": socket.gethostname().partition(".")[0],
        "ports": [one.getsockname()[1] for one in sockets],
    }
    for one in sockets:
        one.close()
    of_nodes = [facts | {"node": node, "port": port} for node, port in zip(nodes, facts["ports"][1:], strict=True)]
    (root / "gres.conf").write_text("AutoDetect=off\n" + "".join(GPUS_OF_NODE.format(**of_node) for of_node in of_nodes))
    (root / "slurm.conf").write_text(SLURM_CONF.format(**facts) + "".join(NODE.format(**of_node) for of_node in of_nodes))
    return root / "slurm.conf"


def _start(slurm: Slurm, program: str, *words: str) -> subprocess.Popen[bytes]:
    """Start a daemon in the foreground; it ends with the test process, however that ends."""
    libc = ctypes.CDLL(None)
    with (slurm.root / f"{program}{''.join(words)}.out").open("wb") as out:
        return subprocess.Popen(
            [shutil.which(program, path=WITH_SBIN) or program, "-D", "-f", slurm.environment["SLURM_CONF"], *words],
            env=os.environ | slurm.environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            preexec_fn=lambda: libc.prctl(_DIE_WITH_PARENT, signal.SIGTERM),
        )


def _wait_until_idle(slurm: Slurm, daemons: list[subprocess.Popen[bytes]]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        words = ["sinfo", "--noheader", "--format=%T"]
        done = subprocess.run(words, env=os.environ | slurm.environment, capture_output=True, text=True, check=False)
        if set(done.stdout.split()) == {"idle"}:
            return
        ended = any(daemon.poll() is not None for daemon in daemons)
        logs = "".join(path.read_text(errors="replace")[-2000:] for path in sorted(slurm.root.glob("slurm*.out")))
        if ended or time.monotonic() >= deadline:
            pytest.fail(f"Slurm did not start: {done.stdout}{done.stderr}\n{logs}")
        time.sleep(0.1)


def _end_jobs(slurm: Slurm) -> None:
    for number in slurm.call("squeue", "--me", "--noheader", "--format=%i").split():
        for words in (("scontrol", "hold", number), ("scancel", "--full", "--signal=KILL", number), ("scancel", number)):
            # one that has ended meanwhile needs nothing
            subprocess.run(words, env=os.environ | slurm.environment, capture_output=True, check=False)
    deadline = time.monotonic() + STOP_SECONDS
    while slurm.call("squeue", "--me", "--noheader") and time.monotonic() < deadline:
        time.sleep(0.2)


def _stop(daemons: list[subprocess.Popen[bytes]]) -> None:
    for daemon in daemons:
        daemon.terminate()
    for daemon in daemons:
        try:
            daemon.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()
