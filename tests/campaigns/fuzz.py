"""Damaged files for every reader: each must end in a result or in one clear sentence."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import hypothesis
from hypothesis import HealthCheck, Phase

from tests.campaigns.mutations import damaged, good_files

ROOT = Path(__file__).parents[2]


@dataclass
class FuzzFigures:
    """What came of the files.

    Attributes
    ----------
    outcomes
        How many were read and refused, by reader: ``job result``, ``job refused``.
    seconds, memory_megabytes
        The most processor time that one file took, and the most memory that the reading process had beyond its start.
    failures
        What should not have happened, and the file that did it.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    memory_megabytes: float = 0.0
    failures: list[str] = field(default_factory=list)


class ReadingProcess:
    """A process that reads files and says what came of it; started again when it has died.

    Parameters
    ----------
    folder
        Where the files are put, and kept when they did harm.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.figures = FuzzFigures()
        self._process: subprocess.Popen[str] | None = None
        self._memory_at_start = 0

    def read(self, kind: str, content: bytes) -> str:
        """Read one file; returns what came of it."""
        # the names that the readers expect
        path = self.folder / "Schemes" / "flex" / ("scheme.star" if kind == "scheme" else f"{kind}.star")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        if self._process is None:
            self._start()
        answer = self._ask(f"{kind} {path}")
        if not answer:
            code = self._process.wait() if self._process else None
            outcome, self._process = f"broken: the process ended with {code}", None
        else:
            seconds, memory, outcome = answer.rstrip("\n").split(" ", 2)
            self.figures.seconds = max(self.figures.seconds, float(seconds))
            self.figures.memory_megabytes = max(self.figures.memory_megabytes, (int(memory) - self._memory_at_start) / 1024)
        word = outcome.split(" ", 1)[0].rstrip(":")
        self.figures.outcomes[f"{kind} {word}"] += 1
        if word == "broken":
            kept = self.folder / f"failure_{len(self.figures.failures):03d}_{kind}"
            kept.write_bytes(content)
            self.figures.failures.append(f"{kept}: {outcome}")
        return outcome

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.communicate()

    def _start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.campaigns.fuzz_reader"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        # good files first: what they need is the size of the readers, not of what is damaged
        place = self.folder / "good" / "Schemes" / "flex"
        place.mkdir(parents=True, exist_ok=True)
        for kind, files in good_files().items():
            path = place / ("scheme.star" if kind == "scheme" else f"{kind}.star")
            for content in files:
                path.write_bytes(content)
                answer = self._ask(f"{kind} {path}")
                assert answer.rstrip().endswith(" result"), answer
                self._memory_at_start = int(answer.split(" ")[1])

    def _ask(self, line: str) -> str:
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            return ""
        return self._process.stdout.readline()


def run_fuzz(folder: Path, *, count: int, seed: int = 0) -> FuzzFigures:
    """Give `count` damaged files to the readers, as many to each.

    Raises
    ------
    AssertionError
        A reader broke down, hung or took too much memory; the files that did it are named and kept in `folder`.
    """
    process = ReadingProcess(folder)
    kinds = good_files()
    for kind, files in kinds.items():
        _give(process, kind, files, count=count // len(kinds), seed=seed)
    process.close()
    assert not process.figures.failures, "\n".join(process.figures.failures[:20])
    return process.figures


def _give(process: ReadingProcess, kind: str, files: list[bytes], *, count: int, seed: int) -> None:
    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @hypothesis.given(damaged(kind, files))
    def give(content: bytes) -> None:
        process.read(kind, content)

    give()
