"""Writers of masks, probabilities and pictures. A file gets its name when it is complete."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

PROBABILITY_SUFFIXES = (".tif", ".npy")
"""Suffixes of files of probabilities."""

_TIFF_BYTES = 2**32 - 2**20
"""Most bytes of samples that fit into a TIFF file, with room for its header."""


def write_mask(path: str | os.PathLike[str], mask: npt.NDArray[np.bool_], *, overwrite: bool = False) -> Path:
    """Write a mask as a gray PNG file, 255 where it is True and 0 elsewhere, and return its path.

    Args:
        path: file; missing folders are created.
        mask: H W, bool.
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
    if mask.ndim != 2 or mask.dtype != np.bool_:
        raise ValueError(f"mask must be H W bool, got {mask.shape} {mask.dtype}: give probabilities > threshold")
    return write_picture(path, np.where(mask, np.uint8(255), np.uint8(0)), overwrite=overwrite)


def write_picture(path: str | os.PathLike[str], picture: npt.NDArray[np.uint8], *, overwrite: bool = False) -> Path:
    """Write a gray picture or one in RGB as a PNG file, and return its path.

    Args:
        path: file; missing folders are created.
        picture: H W or H W 3, uint8.
        overwrite: whether a file that is there is replaced.

    Raises:
        ValueError: if the picture has another shape or dtype.
        FileExistsError: if the file is there and is not to be replaced.
        OSError: if the file cannot be written; then no part of it is there.
    """
    if picture.dtype != np.uint8 or picture.shape[2:] not in ((), (3,)) or picture.ndim < 2:
        raise ValueError(
            f"picture must be H W or H W 3, uint8, got {picture.shape} {picture.dtype}: scale it to 0..255"
        )
    with whole_file(Path(path), overwrite=overwrite) as file:
        Image.fromarray(picture).save(file, format="PNG")
    return Path(path)


def write_probabilities(
    path: str | os.PathLike[str], probabilities: npt.NDArray[Any], *, overwrite: bool = False
) -> Path:
    """Write probabilities in 32-bit floating point as a TIFF or .npy file, by the suffix, and return its path.

    Args:
        path: file that ends with .tif or .npy; missing folders are created.
        probabilities: H W, floating point. NaN stays NaN.
        overwrite: whether a file that is there is replaced.

    Raises:
        ValueError: if the suffix is another, the probabilities are not H W, floating point, or too many for TIFF.
        FileExistsError: if the file is there and is not to be replaced.
        OSError: if the file cannot be written; then no part of it is there.
    """
    target = Path(path)
    if target.suffix.lower() not in PROBABILITY_SUFFIXES:
        raise ValueError(f"path must end with {' or '.join(PROBABILITY_SUFFIXES)}, got {target.name!r}: choose one")
    if probabilities.ndim != 2 or probabilities.dtype.kind != "f":
        raise ValueError(f"probabilities must be H W float, got {probabilities.shape} {probabilities.dtype}")
    tiff = target.suffix.lower() == ".tif"
    if tiff and 4 * probabilities.size > _TIFF_BYTES:
        raise ValueError(f"probabilities must fit into the 4 GiB of a TIFF file, got {probabilities.shape}: write .npy")
    samples = np.asarray(probabilities, np.float32)
    with whole_file(target, overwrite=overwrite) as file:
        if tiff:
            Image.fromarray(samples).save(file, format="TIFF")
        else:
            np.save(file, samples, allow_pickle=False)
    return target


def check_absent(path: Path) -> None:
    """Raise FileExistsError if a file, folder or link has this path."""
    if os.path.lexists(path):
        raise FileExistsError(f"{path} is there already: move it, write to another folder, or allow it to be replaced")


@contextmanager
def whole_file(path: Path, *, overwrite: bool) -> Iterator[IO[bytes]]:
    """Open a hidden temporary file beside `path`, which gets its name when the block ends without an error.

    Missing folders are created.
    """
    if not overwrite:
        check_absent(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(part, "w+b") as file:  # the TIFF writer reads, too
            yield file
            file.flush()
            os.fsync(file.fileno())
        if not overwrite:
            check_absent(path)  # another process may have written it meanwhile
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
