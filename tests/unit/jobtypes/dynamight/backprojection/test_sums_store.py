from __future__ import annotations

from pathlib import Path

import pytest
import torch

from jobtypes.dynamight.backprojection.sums_store import SumsStore
from relion_jobs.contract.errors import UserError


def store_in(path: Path, identity: str = "a", memory: int = 10**9) -> SumsStore:
    return SumsStore(path, {"forward": identity}, memory_bytes=memory)


def put(store: SumsStore, m: int, part: str = "train") -> None:
    store.put((1, part, m), torch.full((2, 2, 2), float(m)), torch.ones(4, 4, 3))


def test_saved_sums_come_back(tmp_path):
    store = store_in(tmp_path)
    put(store, 0)
    store.notes["verdict"] = {"word": "better"}
    store.save()
    again = store_in(tmp_path)
    assert again.resumed
    assert (1, "train", 0) in again
    assert again.notes == {"verdict": {"word": "better"}}
    assert float(again.get((1, "train", 0))["numerator"].sum()) == 0


def test_sums_of_another_checkpoint_are_removed(tmp_path):
    store = store_in(tmp_path)
    put(store, 0)
    store.save()
    other = store_in(tmp_path, "b")
    assert not other.resumed
    assert (1, "train", 0) not in other
    assert list((tmp_path / "backprojection").iterdir()) == []


def test_a_dropped_bin_survives_until_its_successor_is_on_disk(tmp_path):
    store = store_in(tmp_path)
    put(store, 1)
    store.save()
    put(store, 1, "all")
    store.drop((1, "train", 1))
    killed = store_in(tmp_path)  # what a run finds that follows a kill at this moment
    assert (1, "train", 1) in killed
    assert (1, "all", 1) not in killed
    store.save()
    later = store_in(tmp_path)
    assert (1, "all", 1) in later
    assert (1, "train", 1) not in later


def test_beyond_the_memory_sums_are_read_from_disk(tmp_path):
    store = store_in(tmp_path, memory=0)
    for m in range(3):
        put(store, m)
    assert len(list((tmp_path / "backprojection/partial_sums").iterdir())) == 3
    assert float(store.get((1, "train", 2))["numerator"].mean()) == 2


def test_a_damaged_index_means_starting_anew(tmp_path):
    store = store_in(tmp_path)
    put(store, 0)
    store.save()
    (tmp_path / "backprojection/partial_sums.pth").write_bytes(b"PK\x03\x04 cut off")
    assert not store_in(tmp_path).resumed


def test_delete_leaves_nothing(tmp_path):
    store = store_in(tmp_path)
    put(store, 0)
    store.save()
    store.delete()
    assert list((tmp_path / "backprojection").iterdir()) == []


def test_sums_of_an_earlier_version_are_taken_up_as_what_they_are_now(tmp_path):
    store = store_in(tmp_path)
    put(store, 0)
    store.save()
    now = {"forward": "a", "rounds": 3}

    def resumed(as_now) -> bool:
        return SumsStore(tmp_path, now, memory_bytes=10**9, as_now=as_now).resumed

    assert resumed(lambda stored: {"rounds": 3} | dict(stored))
    assert not resumed(lambda stored: {"rounds": 4} | dict(stored))


def test_weights_of_the_half_that_is_worked_on_stay_in_memory_and_others_leave_it(tmp_path, monkeypatch):
    of_one = 4 * 4 * 3 * 4  # bytes of the weights of a bin
    for half in (1, 2):
        store = store_in(tmp_path)
        for m in range(2):
            store.put((half, "train", m), torch.full((2, 2, 2), 10.0 * half + m), torch.full((4, 4, 3), float(half)))
        store.save()
    store = store_in(tmp_path, memory=2 * of_one)
    for half in (1, 2, 1):
        for key in ((half, "train", 0), (half, "train", 1)):
            found = store.get(key)
            assert float(found["numerator"].mean()) == 10 * half + key[2]
            assert float(found["weights"].mean()) == half
    read = []
    monkeypatch.setattr("jobtypes.dynamight.backprojection.sums_store.load_checkpoint", lambda path, **_: read.append(path))
    assert float(store.get((1, "train", 1))["weights"].mean()) == 1
    assert read == []


def test_sums_of_an_earlier_run_are_looked_through_before_they_are_read_in_parts(tmp_path):
    store = store_in(tmp_path)
    put(store, 0)
    store.save()
    (path,) = (tmp_path / "backprojection/partial_sums").iterdir()
    content = bytearray(path.read_bytes())
    at = content.index(torch.ones(4, 4, 3).numpy().tobytes())
    content[at] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="damaged"):
        store_in(tmp_path).get((1, "train", 0))


def test_two_tasks_keep_their_sums_apart(tmp_path):
    first = store_in(tmp_path)
    put(first, 0)
    first.save()
    second = SumsStore(tmp_path, {"forward": "other"}, memory_bytes=0, task_folder=Path("elsewhere"))
    put(second, 3)
    assert float(second.get((1, "train", 3))["numerator"][0, 0, 0]) == 3.0
    second.delete()
    assert store_in(tmp_path).resumed
    assert not list((tmp_path / "elsewhere").iterdir())
