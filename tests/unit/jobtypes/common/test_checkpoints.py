from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch

from jobtypes.common.checkpoints import load_checkpoint, save_checkpoint
from relion_jobs.contract.errors import UserError

CONTENTS = {"weights": torch.arange(2000.0), "epoch": 3, "rng": torch.get_rng_state(), "options": {"a": [1, "b", None]}}


def load(path: Path, kind: str = "forward deformations", version: int = 1) -> dict:
    return load_checkpoint(path, kind=kind, version=version)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save_checkpoint(tmp_path / "checkpoints" / "001.pth", CONTENTS, kind="forward deformations", version=1)
    return tmp_path / "checkpoints" / "001.pth"


def test_contents_come_back(saved: Path) -> None:
    loaded = load(saved)
    assert torch.equal(loaded.pop("weights"), CONTENTS["weights"])
    assert torch.equal(loaded.pop("rng"), CONTENTS["rng"])
    assert loaded == {"epoch": 3, "options": {"a": [1, "b", None]}}


def test_states_of_modules_and_optimisers_come_back(tmp_path: Path) -> None:
    module = torch.nn.Linear(3, 2)
    optimiser = torch.optim.Adam(module.parameters())
    module(torch.ones(3)).sum().backward()
    optimiser.step()
    save_checkpoint(tmp_path / "c.pth", {"m": module.state_dict(), "o": optimiser.state_dict()}, kind="k", version=1)
    loaded = load(tmp_path / "c.pth", "k")
    torch.optim.Adam(torch.nn.Linear(3, 2).parameters()).load_state_dict(loaded["o"])
    assert torch.equal(loaded["m"]["weight"], module.weight)


def test_nothing_is_left_beside_a_checkpoint(saved: Path) -> None:
    assert [path.name for path in saved.parent.iterdir()] == ["001.pth"]


@pytest.mark.parametrize(("kind", "version", "sentence"), [
    ("inverse deformations", 1, "is of forward deformations; expected one of inverse deformations"),
    ("forward deformations", 2, "has format 1, but this program reads format 2"),
])  # fmt: skip
def test_another_kind_or_version_is_refused(saved: Path, kind: str, version: int, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        load(saved, kind, version)


@pytest.mark.parametrize("keep", [0, 1, 3, 4, 100, 2000, -1, -50])
def test_a_truncated_checkpoint_is_refused(saved: Path, keep: int) -> None:
    saved.write_bytes(saved.read_bytes()[:keep])
    with pytest.raises(UserError, match=r"001\.pth is damaged"):
        load(saved)


def test_a_flipped_byte_is_noticed(saved: Path) -> None:
    content = bytearray(saved.read_bytes())
    place = bytes(content).index(CONTENTS["weights"].numpy().tobytes()[100:200])  # type: ignore[attr-defined]
    content[place] ^= 1
    saved.write_bytes(content)
    with pytest.raises(UserError, match=r"001\.pth is damaged"):
        load(saved)


def test_files_of_other_programs_are_refused(tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.pth"
    for write in (
        lambda: torch.save({"model": 1}, foreign),
        lambda: torch.save(torch.nn.Linear(2, 2), foreign),
        lambda: foreign.write_bytes(pickle.dumps({"a": 1})),
        lambda: foreign.write_text("data_\n" * 100),
    ):
        write()
        with pytest.raises(UserError, match=r"foreign\.pth"):
            load(foreign)


def test_a_missing_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        load(tmp_path / "no.pth")


def test_what_could_not_be_loaded_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"contents\['a'\]\[0\] is a Path|PosixPath"):
        save_checkpoint(tmp_path / "c.pth", {"a": [Path("x")]}, kind="k", version=1)
    assert not list(tmp_path.iterdir())


class Payload:
    """Unpickled by a loader that trusts it, this makes the file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    harm = tmp_path / "harm"
    torch.save({"kind": "forward deformations", "format_version": 1, "contents": Payload(harm)}, tmp_path / "evil.pth")
    with pytest.raises(UserError, match=r"evil\.pth"):
        load(tmp_path / "evil.pth")
    assert not harm.exists()
    torch.load(tmp_path / "evil.pth", weights_only=False)
    assert harm.exists(), "the payload would have worked"
