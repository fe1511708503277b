"""What a run says if the disk is full."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .._files import FULL


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
