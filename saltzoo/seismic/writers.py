"""Writers of masks, probabilities and pictures. A file gets its name when it is complete."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np

from .._files import whole_file
from ._encoders import write_npy, write_png, write_tiff
from .lazy import Lazy, Sliced

PROBABILITY_SUFFIXES = (".tif", ".npy")
"""Suffixes of files of probabilities."""

_TIFF_BYTES = 2**32 - 2**20
"""Most bytes of samples that fit into a TIFF file, with room for its header."""


def write_mask(path: str | os.PathLike[str], mask: Sliced, *, overwrite: bool = False) -> Path:
    """Write a mask as a gray PNG file, 255 where it is True and 0 elsewhere, and return its path.

    Args:
        path: file; missing folders are created.
        mask: H W, bool; an array, or what slices like one. It is read in strips.
        overwrite: whether a file that is there is replaced.

    Raises:
        ValueError: if the mask is not H W, bool.
        FileExistsError: if the file is there and is not to be replaced.
        OSError: if the file cannot be written; then no part of it is there.

    Example:
        >>> import tempfile
        >>> from saltzoo.seismic import read_mask
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     read_mask(write_mask(f"{folder}/a.png", np.eye(2, dtype=bool)))[0].tolist()
        [[True, False], [False, True]]
    """
    if len(mask.shape) != 2 or mask.dtype != np.bool_:
        raise ValueError(f"mask must be H W bool, got {mask.shape} {mask.dtype}: give probabilities > threshold")
    white = Lazy(lambda part: np.where(part, np.uint8(255), np.uint8(0)), mask, dtype=np.uint8)
    return write_picture(path, white, overwrite=overwrite)


def write_picture(path: str | os.PathLike[str], picture: Sliced, *, overwrite: bool = False) -> Path:
    """Write a gray picture or one in RGB as a PNG file, and return its path.

    Args:
        path: file; missing folders are created.
        picture: H W or H W 3, uint8; an array, or what slices like one. It is read in strips.
        overwrite: whether a file that is there is replaced.

    Raises:
        ValueError: if the picture has another shape or dtype.
        FileExistsError: if the file is there and is not to be replaced.
        OSError: if the file cannot be written; then no part of it is there.
    """
    shape = tuple(picture.shape)
    if picture.dtype != np.uint8 or shape[2:] not in ((), (3,)) or len(shape) < 2 or 0 in shape:
        raise ValueError(
            f"picture must be H W or H W 3, uint8, not empty, got {shape} {picture.dtype}: scale it to 0..255"
        )
    with whole_file(Path(path), overwrite=overwrite) as file:
        write_png(file, picture)
    return Path(path)


def write_probabilities(path: str | os.PathLike[str], probabilities: Sliced, *, overwrite: bool = False) -> Path:
    """Write probabilities in 32-bit floating point as a TIFF or .npy file, by the suffix, and return its path.

    Args:
        path: file that ends with .tif or .npy; missing folders are created.
        probabilities: H W, floating point; an array, or what slices like one. It is read in strips. NaN stays NaN.
        overwrite: whether a file that is there is replaced.

    Raises:
        ValueError: if the suffix is another, the probabilities are not H W, floating point, or too many for TIFF.
        FileExistsError: if the file is there and is not to be replaced.
        OSError: if the file cannot be written; then no part of it is there.
    """
    target = Path(path)
    if target.suffix.lower() not in PROBABILITY_SUFFIXES:
        raise ValueError(f"path must end with {' or '.join(PROBABILITY_SUFFIXES)}, got {target.name!r}: choose one")
    shape, dtype = tuple(probabilities.shape), np.dtype(probabilities.dtype)
    if len(shape) != 2 or 0 in shape or dtype.kind != "f":
        raise ValueError(f"probabilities must be H W float, of one or more pixels, got {shape} {dtype}")
    tiff = target.suffix.lower() == ".tif"
    if tiff and 4 * math.prod(shape) > _TIFF_BYTES:
        raise ValueError(f"probabilities must fit into the 4 GiB of a TIFF file, got {shape}: write .npy")
    with whole_file(target, overwrite=overwrite) as file:
        (write_tiff if tiff else write_npy)(file, probabilities)
    return target
