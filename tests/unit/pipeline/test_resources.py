"""What ran out, whoever reported it and however deep."""

import errno
from pathlib import Path

import pytest

from deepicd.errors import DataError, ExhaustedError, TrainingError
from deepicd.pipeline.resources import explain_exhaustion, find_exhausted


def caused(outer: Exception, inner: Exception) -> Exception:
    try:
        try:
            raise inner
        except Exception as error:
            raise outer from error
    except Exception as error:
        return error


@pytest.mark.parametrize(
    ("error", "what"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "disk space"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "disk space"),
        (
            RuntimeError("Error while serializing: IoError (os error 28)"),
            "disk space",
        ),
        (caused(TrainingError("SFT failed"), OSError(errno.ENOSPC, "x")), "disk space"),
        (MemoryError(), "memory"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "memory"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), "memory"),
        (RuntimeError("Task was killed due to the node running low on memory"), "memory"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), "GPU memory"),
        (DataError("a table is broken"), None),
        (FileNotFoundError(errno.ENOENT, "no such file"), None),
    ],
)
def test_the_bottom_of_an_error_says_what_ran_out(error, what):
    assert find_exhausted(error) == what


def test_it_is_one_line_with_an_exit_code_of_its_own_and_the_way_on():
    with (
        pytest.raises(ExhaustedError, match=r"disk space ran out .* `deepicd resume a` goes on"),
        explain_exhaustion(Path("runs/a")),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert ExhaustedError.exit_code == 12
    with pytest.raises(DataError, match="broken"), explain_exhaustion(Path("runs/a")):
        raise DataError("a table is broken")
