"""Files of a run are replaced whole: after an error the old file is there, and no part of the new one."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FULL = (errno.ENOSPC, errno.EDQUOT)
"""Numbers of the errors for a full disk and for a user's quota."""


@contextmanager
def replaced(path: Path) -> Iterator[io.BufferedWriter]:
    """Open a temporary file for writing, which replaces `path` when the block ends without an error.

    Raises:
        OSError: if the file cannot be written, also where the writer in the block (torch.save) raises another error.
    """
    part = path.with_name(f"{path.name}.part")
    file = _Watched(io.FileIO(part, "w"))
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException as error:
        part.unlink(missing_ok=True)
        if file.error is not None:
            raise OSError(file.error.errno, file.error.strerror, str(path)) from error
        raise


class _Watched(io.BufferedWriter):
    """A file that remembers the error of a failed write."""

    error: OSError | None = None

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            self.error = error
            raise


@contextmanager
def full_disk_explained(out: Path, state: Path) -> Iterator[None]:
    """Say what the user of a run can do if the disk is full.

    Args:
        out: folder of the run.
        state: file from which the run continues, if it is there.

    Raises:
        OSError: with the same number.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        next_step = (
            f"{state} holds the last epoch that was written whole: free space and resume the run"
            if state.exists()
            else "no epoch was written: free space, or choose a folder on another disk, and start again"
        )
        raise OSError(error.errno, f"the disk of {out} is full ({error.strerror}): {next_step}") from error
