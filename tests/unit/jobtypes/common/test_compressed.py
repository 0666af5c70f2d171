from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Callable
from pathlib import Path

import pytest

from jobtypes.common.compressed import packed_beside
from jobtypes.common.image_stacks import read_stack_layout
from jobtypes.common.volumes import read_volume
from relion_jobs.contract.errors import UserError

PACKED = [(gzip.compress, "gz", "gunzip"), (bz2.compress, "bz2", "bunzip2"), (lzma.compress, "xz", "unxz")]


@pytest.mark.parametrize(("pack", "ending", "unpacker"), PACKED)
@pytest.mark.parametrize("name", ["a.mrcs.{}", "A.MRCS.{}", "a.mrcs"])
def test_a_packed_stack_is_refused_with_what_unpacks_it(
    tmp_path: Path, pack: Callable[[bytes], bytes], ending: str, unpacker: str, name: str
) -> None:
    path = tmp_path / (name.format(ending.upper() if name[0] == "A" else ending))
    path.write_bytes(pack(bytes(5000)))
    with pytest.raises(UserError, match=rf"The image stack {path.name} is packed, .*: {unpacker} it.*\({unpacker} {path.name}\)"):
        read_stack_layout(path, path.name)


@pytest.mark.parametrize("name", ["map.mrc.gz", "map.MRC.GZ", "map.map.gz", "map.mrc"])
def test_a_packed_map_is_refused_with_what_unpacks_it(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(gzip.compress(bytes(5000)))
    with pytest.raises(UserError, match=r"The map .* is packed, .*: gunzip it"):
        read_volume(tmp_path / name)


@pytest.mark.parametrize(("there", "missing", "sentence"), [
    ("a.mrcs.gz", "a.mrcs", r"a\.mrcs\.gz lies there, which is packed: gunzip it"),
    ("a.mrcs.GZ", "a.mrcs", r"a\.mrcs\.GZ lies there, which is packed: gunzip it"),
    ("a.mrcs.zst", "a.mrcs", r"a\.mrcs\.zst lies there, which is packed: unzstd it"),
    ("a.mrcs", "a.mrcs.gz", r"a\.mrcs lies there: name it without \.gz"),
    ("b.mrcs.gz", "a.mrcs", r"restore it, correct its name, or say where the stacks lie now \(option particle_path_prefix"),
])  # fmt: skip
def test_a_missing_stack_names_its_packed_or_unpacked_twin(tmp_path: Path, there: str, missing: str, sentence: str) -> None:
    (tmp_path / there).touch()
    with pytest.raises(UserError, match=f"does not exist .*{sentence}"):
        read_stack_layout(tmp_path / missing, missing)


def test_nothing_beside_is_nothing_to_say(tmp_path: Path) -> None:
    assert packed_beside(tmp_path / "a.mrcs") == ""
