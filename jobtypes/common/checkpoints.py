"""Checkpoints: plain tensors, numbers and texts in a file that appears whole, opened without running code."""

from __future__ import annotations

import io
import pickle
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from jobtypes.common.whole_files import written_whole
from relion_jobs.contract.errors import UserError

_DAMAGE = (  # what zipfile and torch raise for files that are none of ours
    zipfile.BadZipFile,
    pickle.UnpicklingError,
    RuntimeError,
    EOFError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
)
_KIND, _VERSION, _CONTENTS = "kind", "format_version", "contents"
_PLAIN = (torch.Tensor, bool, int, float, str, bytes, type(None))


def save_checkpoint(path: Path | str, contents: Mapping[str, Any], *, kind: str, version: int) -> None:
    """Write a checkpoint, whole or not at all; when this returns it is on the disk.

    Parameters
    ----------
    path
        File to write or replace.
    contents
        State dicts, options, numbers: tensors, plain Python values, and dicts, lists and tuples of them. Any device.
    kind
        What it is, in words for the user: "forward deformations".
    version
        Of the layout of `contents`; raised when older programs could not read it.

    Raises
    ------
    UserError
        The disk is full, or the file may not be written; an older file of that name is untouched.
    """
    _refuse_objects(contents, "contents")
    buffer = io.BytesIO()  # in memory first: torch hides a full disk in a RuntimeError
    torch.save({_KIND: kind, _VERSION: version, _CONTENTS: _canonical(contents)}, buffer)
    with written_whole(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def load_checkpoint(
    path: Path | str,
    *,
    kind: str,
    version: int,
    remedy: str = "use the program that wrote it",
    device: torch.device | str = "cpu",
    mapped: bool = False,
) -> dict[str, Any]:
    """Read the contents of a checkpoint, onto `device`, running no code that is in it (weights_only).

    Parameters
    ----------
    path
        The file.
    kind, version
        As it was saved; the same version is needed.
    remedy
        What the user can do about one of another version.
    device
        Where tensors go.
    mapped
        Leave tensors in the file, whose check sums are not looked at, and read them as they are used; for the CPU.

    Raises
    ------
    UserError
        The file is missing, damaged, no checkpoint of ours, of another kind or of another version.
    """
    path = Path(path)
    try:
        with zipfile.ZipFile(path) as archive:  # torch.save writes a zip archive, but torch.load does not look at its check sums
            if not mapped and archive.testzip() is not None:
                raise zipfile.BadZipFile("wrong check sum")
        stored = torch.load(path, map_location=device, weights_only=True, mmap=mapped)
    except FileNotFoundError:
        raise UserError(f"The checkpoint {path} does not exist; give another, or leave it empty to use the last.") from None
    except OSError as error:
        raise UserError(f"The checkpoint {path} cannot be read: {error.strerror or error}.") from error
    except _DAMAGE as error:
        raise UserError(
            f"The checkpoint {path} is damaged or was not written by this program; name an earlier one of the same job, or "
            f"remove it and the one before it is the last."
        ) from error
    if not isinstance(stored, dict) or not {_KIND, _VERSION, _CONTENTS} <= stored.keys():
        raise UserError(f"{path} is no checkpoint of this program; expected one of {kind}.")
    if stored[_KIND] != kind:
        raise UserError(f"The checkpoint {path} is of {stored[_KIND]}; expected one of {kind}.")
    if stored[_VERSION] != version:
        raise UserError(
            f"The checkpoint {path} has format {stored[_VERSION]}, but this program reads format {version}; {remedy}."
        )
    return dict(stored[_CONTENTS])


def _canonical(value: object) -> object:
    """Copy containers and intern texts: equal contents give equal bytes, though pickle stores one text object by reference."""
    if isinstance(value, Mapping):
        return {_canonical(key): _canonical(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_canonical(item) for item in value)
    return sys.intern(value) if type(value) is str else value


def _refuse_objects(value: object, where: str) -> None:
    """Refuse what weights_only could not read back, when it is written and not a day later."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            _refuse_objects(item, f"{where}[{key!r}]")
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            _refuse_objects(item, f"{where}[{index}]")
    elif type(value) not in _PLAIN and not isinstance(value, torch.Tensor):
        raise TypeError(f"{where} is a {type(value).__name__}; a checkpoint holds tensors, plain values, dicts, lists and tuples")
