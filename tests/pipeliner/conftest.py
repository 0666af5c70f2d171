"""The CCP-EM pipeliner, in an environment of its own: its packages and ours do not get along in one."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

VARIABLE = "RELION_JOBS_CCPEM_PIPELINER"
READY, BROKEN = "ready", "broken"
INSTALL_SECONDS = 600.0


@pytest.fixture(scope="session")
def pipeliner() -> Path:
    """The program ``pipeliner`` of the environment that the variable names.

    Whoever prepares the environment while tests run already leaves a file ``ready`` (or ``broken``) in it at the end.
    """
    named = os.environ.get(VARIABLE)
    if not named:
        pytest.skip(f"{VARIABLE} does not name an environment with ccpem-pipeliner.")
    environment = Path(named).absolute()
    deadline = time.monotonic() + INSTALL_SECONDS
    while not any((environment / name).exists() for name in (READY, BROKEN)):
        if time.monotonic() > deadline:
            pytest.fail(f"{environment} was not ready after {INSTALL_SECONDS:g} s.")
        time.sleep(1)
    if (environment / BROKEN).exists():
        pytest.fail(f"ccpem-pipeliner could not be installed in {environment}.")
    return environment / "bin" / "pipeliner"
