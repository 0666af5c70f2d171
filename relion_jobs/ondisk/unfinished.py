"""Names of files that are not whole yet, which say whose they are, so that nobody removes what another is still writing."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import socket
import time
from pathlib import Path

from relion_jobs.ondisk.owner import Owner, start_of

UNFINISHED = ".part"  # how the names end
# what nobody has written to for so long is taken for abandoned where its writer cannot be asked about
ABANDONED_SECONDS = 86400.0

_NAME = re.compile(rf"\..+\.(?P<host>[0-9a-f]{{8}})-(?P<pid>\d+)-(?P<start>\d+)-[0-9a-f]{{8}}{re.escape(UNFINISHED)}")


def unfinished_path(target: Path) -> Path:
    """Return a new name beside a file for what is written in its place, ``.NAME.HOST-PID-START-RANDOM.part``.

    HOST is a digest of this machine's name, which may be longer than a file name can bear; PID and START tell this process from
    all others of the machine.
    """
    pid = os.getpid()
    writer = f"{_digest_of_host()}-{pid}-{start_of(pid) or 0}-{secrets.token_hex(4)}"
    return target.with_name(f".{target.name}.{writer}{UNFINISHED}")


def remove_unfinished(folder: Path) -> None:
    """Remove what writers left in a folder that are dead; what others write there just now stays.

    A file of another machine, or whose name does not say whose it is, goes once nobody has written to it for a day.
    """
    for path in folder.glob(f".*{UNFINISHED}"):
        # it may be renamed at any moment
        with contextlib.suppress(OSError):
            if _is_abandoned(path):
                path.unlink()


def _is_abandoned(path: Path) -> bool:
    found = _NAME.fullmatch(path.name)
    if found is None or found["host"] != _digest_of_host():
        return time.time() - path.stat().st_mtime > ABANDONED_SECONDS
    pid = int(found["pid"])
    if Owner(pid, socket.gethostname(), 0.0).is_dead():
        return True
    # the number may belong to another process by now; where that cannot be told the writer counts as alive
    start = start_of(pid)
    return bool(start) and start != found["start"]


def _digest_of_host() -> str:
    return hashlib.sha256(socket.gethostname().encode("utf-8", "surrogateescape")).hexdigest()[:8]
