"""Damaged files for the readers: good ones of every kind, and a hypothesis strategy of what can be done to them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import strategies as st

SAMPLES = Path(__file__).parents[1] / "data" / "relion"

PARTICLES = b"""
# version 30001

data_optics

loop_
_rlnOpticsGroup #1
_rlnOpticsGroupName #2
_rlnVoltage #3
_rlnSphericalAberration #4
_rlnAmplitudeContrast #5
_rlnImagePixelSize #6
_rlnImageSize #7
_rlnImageDimensionality #8
1 opticsGroup1 300.0 2.7 0.1 4.0 24 2

# version 30001

data_particles

loop_
_rlnImageName #1
_rlnAngleRot #2
_rlnAngleTilt #3
_rlnAnglePsi #4
_rlnOriginXAngst #5
_rlnOriginYAngst #6
_rlnDefocusU #7
_rlnDefocusV #8
_rlnDefocusAngle #9
_rlnRandomSubset #10
_rlnOpticsGroup #11
000001@Extract/job002/a.mrcs 10.5 20.25 -30 0.5 -1.5 12000 11800 45 1 1
000002@Extract/job002/a.mrcs 11.5 21.25 -31 1.5 -2.5 12100 11900 46 2 1
"000003@Extract/job002/a b.mrcs" 12.5 22.25 -32 2.5 -3.5 12200 12000 47 1 1
000004@Extract/job002/b.mrcs 13.5 23.25 -33 3.5 -4.5 12300 12100 48 2 1

"""

WORDS = (
    *("", '"', "'", '"two words', '""', "#", "# version x", "_rlnX", "_", "loop_", "data_", "data_particles", "data_optics"),
    *("data_pipeline_general", "data_job", "nan", "inf", "-inf", "1e400", "-1", "0", "-0", "1.5", "1_000", "0x10", "+", "-", "."),
    *(
        "99999999999999999999",
        "-99999999999999999999",
        "2147483648",
        "1048577",
        "1e-320",
        "\u0663",
        "\uff11",
        "None",
        "Yes",
        "Running",
    ),
    *("../../x", "/etc/passwd", "~", "@", "1@", "@a.mrcs", "0@a.mrcs", "1@2@a.mrcs", "99999999999999999999@a.mrcs", "$(touch x)"),
    *("\x00", "\r", "\t", "\v", "\f", "\x1c", "\x85", "\u2028", "\ufeff", "\a", "x" * 10000, "_rlnImageName", "_rlnOpticsGroup"),
)
INTEGERS = (0, 1, -1, 2, 3, 6, 12, 24, 101, 255, 1 << 16, 1 << 20, (1 << 20) + 1, (1 << 31) - 1, -(1 << 31), 1 << 30)


def good_files() -> dict[str, list[bytes]]:
    """Files that every reader can read, by the reader's name."""
    return {
        "job": [(SAMPLES / "inputs" / f"{name}.job.star").read_bytes() for name in ("dynamight-plain", "relion_dm_abort")],
        "pipeline": [
            (SAMPLES / "snapshots" / name / "default_pipeline.star").read_bytes()
            for name in ("00_empty", "04_dynamight_new_done", "14_alias")
        ]
        + [(SAMPLES / name / "default_pipeline.star").read_bytes() for name in ("oldformat", "v4format")],
        "scheme": [path.read_bytes() for path in sorted(SAMPLES.glob("**/scheme.star"))[:2]],
        "particles": [PARTICLES],
        "map": [mrc(8, 8, 8, 2), mrc(6, 6, 6, 1), mrc(4, 4, 4, 12)],
        "stack": [mrc(4, 8, 8, 2), mrc(3, 6, 6, 6)],
    }


def mrc(sections: int, rows: int, columns: int, mode: int) -> bytes:
    """A small MRC file."""
    header = np.zeros(256, "<i4")
    header[:4] = columns, rows, sections, mode
    header[7:10] = columns, rows, sections
    header[10:13] = (np.array([columns, rows, sections], "<f4") * 4).view("<i4")
    header[16:19] = 1, 2, 3
    header[52] = int.from_bytes(b"MAP ", "little")
    header[53] = 0x4444
    kind = {1: "<i2", 2: "<f4", 6: "<u2", 12: "<f2"}[mode]
    return header.tobytes() + np.arange(columns * rows * sections).astype(kind).tobytes()


def damaged(kind: str, files: list[bytes]) -> st.SearchStrategy[bytes]:
    """One of the good files after one to six changes."""
    place, word = st.integers(0, 1 << 16), st.sampled_from(WORDS)
    changes = [st.tuples(st.just(change), place, place, word) for change in (BINARY if kind in ("map", "stack") else TEXT)]
    return st.builds(_changed, st.sampled_from(files), st.lists(st.one_of(changes), min_size=1, max_size=6))


def _changed(content: bytes, changes: list[tuple]) -> bytes:
    for change, first, second, word in changes:
        content = change(content, first, second, word.encode("utf-8", "surrogateescape"))
    return content


def _cut(content: bytes, first: int, second: int, word: bytes) -> bytes:
    return content[: first % (len(content) + 1)]


def _set_byte(content: bytes, first: int, second: int, word: bytes) -> bytes:
    place = first % max(1, len(content))
    return content[:place] + bytes([second % 256]) + content[place + 1 :]


def _drop_range(content: bytes, first: int, second: int, word: bytes) -> bytes:
    place = first % (len(content) + 1)
    return content[:place] + content[place + second % 64 :]


def _set_integer(content: bytes, first: int, second: int, word: bytes) -> bytes:
    place = 4 * (first % 64)
    number = INTEGERS[second % len(INTEGERS)]
    return content[:place] + number.to_bytes(4, "little" if second % 3 else "big", signed=True) + content[place + 4 :]


def _put_word(content: bytes, first: int, second: int, word: bytes) -> bytes:
    place = first % (len(content) + 1)
    return content[:place] + word + content[place:]


def _swap_word(content: bytes, first: int, second: int, word: bytes) -> bytes:
    lines = content.split(b"\n")
    at = first % len(lines)
    words = lines[at].split(b" ")
    words[second % len(words)] = word
    lines[at] = b" ".join(words)
    return b"\n".join(lines)


def _put_line(content: bytes, first: int, second: int, word: bytes) -> bytes:
    lines = content.split(b"\n")
    lines.insert(first % (len(lines) + 1), word)
    return b"\n".join(lines)


def _drop_line(content: bytes, first: int, second: int, word: bytes) -> bytes:
    lines = content.split(b"\n")
    del lines[first % len(lines)]
    return b"\n".join(lines)


def _move_line(content: bytes, first: int, second: int, word: bytes) -> bytes:
    lines = content.split(b"\n")
    line = lines.pop(first % len(lines))
    lines.insert(second % (len(lines) + 1), line)
    return b"\n".join(lines)


def _repeat_line(content: bytes, first: int, second: int, word: bytes) -> bytes:
    lines = content.split(b"\n")
    at = first % len(lines)
    # now and then very often
    lines[at:at] = [lines[at]] * (second % 4 if second % 50 else 20000)
    return b"\n".join(lines)


TEXT = (
    _cut,
    _set_byte,
    _drop_range,
    _put_word,
    _swap_word,
    _swap_word,
    _swap_word,
    _put_line,
    _drop_line,
    _move_line,
    _repeat_line,
)
BINARY = (_cut, _set_byte, _set_integer, _set_integer, _set_integer, _drop_range, _put_word)
