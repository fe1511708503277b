"""Where probabilities of a picture go: a new array, an array of the user, or a .npy file that appears when complete."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
from torch import Tensor

from .._files import give_name, release
from ._source import Picture

Floats = npt.NDArray[np.float32]


@runtime_checkable
class Writable(Protocol):
    """What takes slices like an array: numpy, a memory map, a zarr array, an h5py dataset."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the probabilities, (H, W) or (K, H, W)."""

    @property
    def dtype(self) -> Any:
        """Floating-point dtype of numpy."""

    def __setitem__(self, part: Any, values: Any, /) -> None:
        """Set a slice."""


Target = Writable | str | os.PathLike[str] | None


def part_of(out: Target) -> Path | None:
    """Return the temporary file of an output that is a file, None for others.

    Raises:
        TypeError: if the output is neither a path nor takes slices.
        ValueError: if the path does not end in .npy or its folder does not exist.
    """
    if not isinstance(out, (str, os.PathLike)):
        if isinstance(out, Tensor) or not (out is None or isinstance(out, Writable)):
            raise TypeError(
                f"out must be None, a path that ends in .npy, or an array that takes slices (numpy, zarr, h5py), got "
                f"{type(out).__name__}"
            )
        return None
    path = Path(out)
    if path.suffix != ".npy":
        raise ValueError(f"out must be a path that ends in .npy, or an array that takes slices, got {str(path)!r}")
    if not path.parent.is_dir() or path.is_dir():
        raise ValueError(f"out must be a file in a folder that exists, got {str(path)!r}: create the folder first")
    return path.with_name(f"{path.name}.part")


def check_other_file(out: Target, picture: Picture) -> None:
    """Raise ValueError if the output is the file that a memory-mapped picture lies in, which would be lost."""
    source = picture.filename if isinstance(picture, np.memmap) else None
    if source is None or not isinstance(out, (str, os.PathLike)) or not os.path.exists(out):
        return
    if os.path.samefile(source, out):
        raise ValueError(f"out must be another file than that of the picture, got {os.fspath(out)!r} for both")


class Output:
    """Probabilities of a picture, written in strips.

    Args:
        out: as for `predict_tiled`, checked by `part_of`.
        shape: (K, H, W).
        transposed: whether strips are columns.
        resumed: whether the temporary file of an earlier run goes on.

    Raises:
        ValueError: if the shape or dtype of `out` does not fit, or the temporary file is missing or of another shape.
    """

    def __init__(self, out: Target, shape: tuple[int, int, int], *, transposed: bool, resumed: bool) -> None:
        self._transposed = transposed
        self._part = part_of(out)
        self._path = None if self._part is None else self._part.with_suffix("")
        own = shape[1:] if shape[0] == 1 else shape
        if self._part is not None:
            self._array: Any = _opened(self._part, own, resumed=resumed)
        elif isinstance(out, Writable):
            self._array = _checked(out, own)
        else:
            self._array = np.empty(own, np.float32)

    def write(self, first: int, block: Floats) -> None:
        """Set a strip that begins with row, or column, `first`, from a block K n W, or K n H for columns."""
        strip: tuple[slice, ...] = (slice(first, first + block.shape[1]), slice(None))
        if self._transposed:
            block, strip = block.transpose(0, 2, 1), strip[::-1]
        if len(self._array.shape) == 2:
            self._array[strip] = block[0]
        else:
            self._array[(slice(None), *strip)] = block
        if self._part is not None:
            self._array.flush()
            release(self._array)

    def finish(self) -> Any:
        """Return the complete probabilities; a file gets its name."""
        if self._part is None or self._path is None:
            return self._array
        self._array = None  # Windows renames no file that is open
        give_name(self._part, self._path, overwrite=True)
        return np.lib.format.open_memmap(self._path, mode="r")


def _opened(part: Path, shape: tuple[int, ...], *, resumed: bool) -> np.memmap[Any, Any]:
    if not resumed:
        return _created(part, shape)
    try:
        array = np.lib.format.open_memmap(part, mode="r+")
        good = array.shape == shape and array.dtype == np.float32
    except (OSError, ValueError):
        good = False
    if not good:
        raise ValueError(f"{part} must be the unfinished result of the run to resume, and is not: give resume=False")
    return array


def _created(part: Path, shape: tuple[int, ...]) -> np.memmap[Any, Any]:
    """Create the temporary file at its full size: on a disk that fills up later, writing to a map kills the process.

    Raises:
        OSError: if there is no space for it.
    """
    try:
        array = np.lib.format.open_memmap(part, mode="w+", dtype=np.float32, shape=shape)
        _reserve(part, array.offset + array.nbytes)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(part.with_suffix(""))) from error
    return array


def _reserve(file: Path, size: int) -> None:
    """Reserve the space of a file, where the system can."""
    if sys.platform == "linux":
        with open(file, "r+b") as opened:
            try:
                os.posix_fallocate(opened.fileno(), 0, size)
            except OSError as error:
                if error.errno != errno.EOPNOTSUPP:
                    raise


def _checked(out: Writable, shape: tuple[int, ...]) -> Writable:
    if isinstance(out, np.ndarray) and not out.flags.writeable:
        raise ValueError("out must be an array that can be written to, got a read-only one")
    if tuple(out.shape) != shape or np.dtype(out.dtype).kind != "f":
        raise ValueError(f"out must be a floating-point array {shape}, got {tuple(out.shape)} {out.dtype}")
    return out
