"""Files that were packed to save space: RELION reads none, and neither do we, since images are read in place."""

from __future__ import annotations

from pathlib import Path

from relion_jobs.contract.errors import UserError

# first bytes of a packed file -> what unpacks it; and the endings of their names
_UNPACKERS = {
    b"\x1f\x8b": "gunzip",
    b"BZh": "bunzip2",
    b"\xfd7zXZ\x00": "unxz",
    b"\x28\xb5\x2f\xfd": "unzstd",
    b"\x1f\x9d": "uncompress",
    b"PK\x03\x04": "unzip",
}
_ENDINGS = {".gz": "gunzip", ".bz2": "bunzip2", ".xz": "unxz", ".zst": "unzstd", ".Z": "uncompress", ".zip": "unzip"}


def refuse_packed(path: Path, name: str, first_bytes: bytes) -> None:
    """Refuse a packed file by its first bytes, whatever it is called.

    Parameters
    ----------
    path
        The file.
    name
        What it is, for the sentence: "map run_class001.mrc.gz".
    first_bytes
        At least 6 of them.

    Raises
    ------
    UserError
        It is packed; the sentence says what unpacks it.
    """
    for beginning, unpacker in _UNPACKERS.items():
        if first_bytes.startswith(beginning):
            named = f" and name it without {path.suffix}" if path.suffix.lower() in map(str.lower, _ENDINGS) else ""
            raise UserError(f"The {name} is packed, and is not read as it is: {unpacker} it{named} ({unpacker} {path.name}).")


def packed_beside(path: Path) -> str:
    """Return what to do where a file is missing and its packed or unpacked twin lies there; empty where none does."""
    endings = _ENDINGS | {ending.upper(): unpacker for ending, unpacker in _ENDINGS.items()}
    for ending, unpacker in endings.items():
        if (twin := path.with_name(path.name + ending)).is_file():
            return f"{twin.name} lies there, which is packed: {unpacker} it"
    if path.suffix in endings and (twin := path.with_suffix("")).is_file():
        return f"{twin.name} lies there: name it without {path.suffix}"
    return ""
