"""Samples of NumPy's .npy and .npz files. Nothing is unpickled."""

from __future__ import annotations

import math
import os
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy
from PIL import Image

from ._samples import Samples

_NPY, _ZIP = b"\x93NUMPY", b"PK\x03\x04"
_EMPTY_ZIP = b"PK\x05\x06"
_BITS = {"b1": 1, "u1": 8, "u2": 16}
_CHANNELS = (3, 4)
"""Lengths of the last axis of an array of colours."""


def is_array_file(path: str | os.PathLike[str]) -> bool:
    """Return whether a file begins as .npy or .npz files do.

    Raises:
        OSError: if the file cannot be opened.
    """
    with open(path, "rb") as file:
        return file.read(6).startswith((_NPY, _ZIP, _EMPTY_ZIP))


def read_array_samples(path: str | os.PathLike[str], page: int | None) -> Samples:
    """Read one page of a file of arrays: an index of the first axis of an array N H W, or an array of several.

    Raises:
        OSError: if the file cannot be opened.
        ValueError: if the file is damaged, or an array holds no real numbers or has another shape; if the array has
            several pages and `page` is None, or no such page.
    """
    try:
        with open(path, "rb") as file:
            if file.read(6) == _NPY:
                file.seek(0)
                return _of_array(_map(file, path), page)
            with zipfile.ZipFile(file) as archive:
                return _of_archive(archive, page)
    except _Refusal as refusal:
        raise ValueError(f"{path} {refusal}") from None
    except (ValueError, EOFError, KeyError, SyntaxError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(
            f"{path} cannot be read as an array ({error}): give a complete .npy or .npz file of numbers"
        ) from error


class _Refusal(Exception):
    """What is wrong with a file that can be read."""


def _of_archive(archive: zipfile.ZipFile, page: int | None) -> Samples:
    names = [name for name in archive.namelist() if name.endswith(".npy")]
    if not names:
        raise _Refusal("holds no array: give an .npz file as numpy.savez writes it")
    if len(names) == 1:
        with archive.open(names[0]) as file:
            return _of_array(_load(file), page)
    chosen = _chosen(page, len(names), f"arrays ({', '.join(name.removesuffix('.npy') for name in names[:6])})")
    with archive.open(names[chosen]) as file:
        return _of_array(_load(file), None)


def _of_array(array: npt.NDArray[Any], page: int | None) -> Samples:
    if array.dtype.kind not in "biuf":
        raise _Refusal(f"holds {array.dtype} samples: save real numbers")
    if array.ndim == 3 and array.shape[-1] in _CHANNELS:
        raise _Refusal(
            f"holds an array {array.shape}, whose last axis seems to hold colours: save one, H W, or pages N H W"
        )
    if array.ndim not in (2, 3):
        raise _Refusal(f"holds an array {array.shape}: save a picture H W, or pages N H W")
    if array.ndim == 3:
        array = array[_chosen(0 if page is None and len(array) == 1 else page, len(array), "pages")]
    elif page not in (None, 0):
        raise _Refusal(f"has one page: page must be 0 or None, got {page}")
    if not array.size:
        raise _Refusal(f"holds no samples, {array.shape}: give a picture of at least one row and column")
    bits = _BITS.get(array.dtype.str[1:])
    native = array.astype(np.uint8 if bits == 1 else array.dtype.newbyteorder("="), copy=False)
    return Samples(native, bits)


def _chosen(page: int | None, count: int, what: str) -> int:
    if page is None:
        raise _Refusal(f"has {count} {what}: pass page=0 to page={count - 1}, or save one as a file of its own")
    if not 0 <= page < count:
        raise _Refusal(f"has {count} {what}: page must be in 0..{count - 1}, got {page}")
    return page


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Return shape, whether the first axis is the fastest, and dtype, from the beginning of an .npy file."""
    version = npy.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise _Refusal(f"is of version {version} of the .npy format: save plain numbers, not structures")
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, fortran, dtype = read(file)
    if dtype.hasobject:
        raise _Refusal("holds Python objects: save real numbers")
    return shape, fortran, dtype


def _map(file: IO[bytes], path: str | os.PathLike[str]) -> npt.NDArray[Any]:
    shape, fortran, dtype = _header(file)
    if not math.prod(shape):
        return np.empty(shape, dtype)
    offset = file.tell()
    # By the path: a map of an open file would keep the file open.
    return np.memmap(Path(path), dtype=dtype, mode="r", offset=offset, shape=shape, order="F" if fortran else "C")


def _load(file: IO[bytes]) -> npt.NDArray[Any]:
    shape, fortran, dtype = _header(file)
    limit = 2 * (Image.MAX_IMAGE_PIXELS or 0)
    if 0 < limit < math.prod(shape):
        raise _Refusal(f"has more than {limit} samples in a compressed array: save it as an .npy file")
    data = file.read(math.prod(shape) * dtype.itemsize)
    if len(data) < math.prod(shape) * dtype.itemsize:
        raise EOFError("the array ends early")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")
