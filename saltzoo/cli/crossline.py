"""CrosslineFile: probabilities of crosslines that wait on disk until inlines are written."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt

_SAMPLES = 2**24
"""Samples of a block of crosslines."""


class CrosslineFile:
    """A hidden .npy file beside a result, (crossline, inline, sample), which is removed at the end of its block.

    Args:
        out: the result, in a folder that exists.
        shape: numbers of inlines, crosslines and samples.

    Raises:
        OSError: if the disk has less free space than the file needs.
    """

    def __init__(self, out: Path, shape: tuple[int, int, int]) -> None:
        self._path = out.with_name(f".{out.name}.{os.getpid()}.crossline.npy")
        self._shape = (shape[1], shape[0], shape[2])
        needed, free = 4 * int(np.prod(shape, dtype=np.int64)), shutil.disk_usage(out.parent).free
        if free < needed:
            raise OSError(
                f"{out.parent} must have {needed / 2**30:.2f} GiB free for probabilities of crosslines, got "
                f"{free / 2**30:.2f}: write --out to another disk, or segment inlines only"
            )

    def __enter__(self) -> CrosslineFile:
        # Written in order, not through a map, so that a full disk is an error and not the end of the process.
        self._file = open(self._path, "wb")  # noqa: SIM115
        header = {"descr": "<f4", "fortran_order": False, "shape": self._shape}
        np.lib.format.write_array_header_1_0(self._file, header)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._file.close()
        finally:
            self._path.unlink(missing_ok=True)

    def blocks(self) -> Iterator[slice]:
        """Yield the crosslines in blocks of 64 MiB, in order."""
        step = max(1, _SAMPLES // (self._shape[1] * self._shape[2]))
        for first in range(0, self._shape[0], step):
            yield slice(first, min(first + step, self._shape[0]))

    def append(self, values: npt.NDArray[np.float32]) -> None:
        """Write the next crosslines, (crossline, inline, sample)."""
        self._file.write(np.ascontiguousarray(values, "<f4").data)

    def inlines(self, part: slice) -> npt.NDArray[np.float32]:
        """Return a slab, (inline, crossline, sample), after all crosslines were written."""
        self._file.flush()
        stored = np.lib.format.open_memmap(self._path, mode="r")  # a new map each time: pages of the last are let go
        return np.array(stored[:, part].transpose(1, 0, 2), np.float32, order="C")
