import errno

import pytest

from relion_jobs.contract.errors import JobFailed, UserError
from relion_jobs.running.sentences import sentence


class OutOfMemoryError(RuntimeError):
    """As torch calls its own."""


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (UserError("Two\nlines  here."), "Two lines here."),
        (JobFailed("The loss is NaN."), "The loss is NaN."),
        (OSError(errno.ENOSPC, "No space left on device", "a.mrc"), "The disk is full (writing a.mrc)"),
        (OSError(errno.EDQUOT, "Quota"), "The disk is full (writing a file)"),
        (PermissionError(errno.EACCES, "Permission denied", "a.mrc"), "No permission to write or read a.mrc"),
        (FileNotFoundError(errno.ENOENT, "No such file", "a.mrc"), "File a.mrc does not exist."),
        (ConnectionError("gone"), "gone"),
        (MemoryError(), "Out of memory (MemoryError); take a machine with more memory."),
        (OutOfMemoryError("CUDA out of memory\nlong tail"), "Out of memory (CUDA out of memory); take a machine"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes."), "Out of memory (Default"),
        (RuntimeError("CUDA error: out of memory"), "Out of memory (CUDA error"),
        (RuntimeError("cuFFT error: CUFFT_ALLOC_FAILED"), "Out of memory (cuFFT"),
        (ModuleNotFoundError("No module named 'torch'"), "No module named 'torch'"),
        (ValueError("first\nsecond"), "ValueError: first; the traceback is in run.err."),
        (KeyError(), "KeyError: KeyError; the traceback"),
    ],
)
def test_every_error_becomes_one_line(error, text):
    assert text in sentence(error)
    assert "\n" not in sentence(error)


def test_little_memory_has_the_remedy_of_the_task():
    text = sentence(MemoryError(), "take a smaller batch_size")
    assert text == "Out of memory (MemoryError); take a smaller batch_size, or a machine with more memory."
