"""CrosslineFile: probabilities of crosslines that wait on disk until inlines are written."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

_SAMPLES = 2**22
"""Samples of a block of crosslines."""


@dataclass(frozen=True)
class CrosslineFile:
    """A hidden file of float32, (crossline, inline, sample).

    Attributes:
        path: the file.
        file: the file, open for writing.
        shape: numbers of crosslines, inlines and samples.
    """

    path: Path
    file: BinaryIO
    shape: tuple[int, int, int]

    def blocks(self) -> Iterator[slice]:
        """Yield the crosslines in blocks of 16 MiB, in order."""
        step = max(1, _SAMPLES // (self.shape[1] * self.shape[2]))
        for first in range(0, self.shape[0], step):
            yield slice(first, min(first + step, self.shape[0]))

    def append(self, values: npt.NDArray[np.float32]) -> None:
        """Write the next crosslines, (crossline, inline, sample)."""
        self.file.write(np.ascontiguousarray(values, "<f4").data)

    def inlines(self, part: slice) -> npt.NDArray[np.float32]:
        """Return a slab, (inline, crossline, sample), after all crosslines were written."""
        self.file.flush()
        _, inlines, samples = self.shape
        result = np.empty((part.stop - part.start, self.shape[0], samples), np.float32)
        # Not through a map: its pages, of nearly all crosslines' inlines, would count as this process's memory.
        with open(self.path, "rb") as file:
            for crossline in range(self.shape[0]):
                file.seek(4 * samples * (crossline * inlines + part.start))
                result[:, crossline] = np.fromfile(file, "<f4", result[:, 0].size).reshape(-1, samples)
        return result


@contextmanager
def crossline_file(out: Path, shape: tuple[int, int, int]) -> Iterator[CrosslineFile]:
    """Open a file beside a result, which is removed at the end of the block.

    Args:
        out: the result, in a folder that exists.
        shape: numbers of inlines, crosslines and samples.

    Raises:
        OSError: if the disk has less free space than the file needs.
    """
    needed, free = 4 * int(np.prod(shape, dtype=np.int64)), shutil.disk_usage(out.parent).free
    if free < needed:
        raise OSError(
            f"{out.parent} must have {needed / 2**30:.2f} GiB free for probabilities of crosslines, got "
            f"{free / 2**30:.2f}: write --out to another disk, or segment inlines only"
        )
    path, stored = out.with_name(f".{out.name}.{os.getpid()}.crossline.part"), (shape[1], shape[0], shape[2])
    try:
        # It is written in order, not through a map, so that a full disk is an error and not the end of the process.
        with open(path, "wb") as file:
            yield CrosslineFile(path, file, stored)
    finally:
        path.unlink(missing_ok=True)
