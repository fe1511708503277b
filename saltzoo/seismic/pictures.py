"""Reader of gray pictures: it returns what the samples of a file mean, or refuses the file. It never guesses."""

from __future__ import annotations

import math
import os
import warnings
from numbers import Real

import numpy as np
import numpy.typing as npt

from ._arrays import is_array_file, read_array_samples
from ._samples import Samples, read_image_samples

Gray = npt.NDArray[np.uint8 | np.uint16 | np.float32]

SUFFIXES = frozenset(
    {
        *(".bmp", ".gif", ".jpeg", ".jpg", ".npy", ".npz", ".pbm", ".pfm", ".pgm", ".png", ".ppm"),
        *(".tif", ".tiff", ".webp"),
    }
)
"""Names of files in these formats end with these suffixes, in lower case."""

_DARK = {8: 1, 16: 4095}
"""By bits: the largest value of samples that may be masks, or data of 8 to 12 bits in a file of 16."""


def read_picture(
    path: str | os.PathLike[str],
    *,
    value_range: tuple[float, float] | None = None,
    page: int | None = None,
    to_gray: bool = False,
) -> Gray:
    """Read a gray picture, so that `predict` sees the gray levels that the file means.

    BMP, GIF, JPEG, PNG, PPM, TIFF and WEBP files are read, and NumPy's .npy and .npz without pickled objects. The
    content of a file tells its format, not its suffix. Without `value_range`, samples of 1, 8, 12 or 16 unsigned bits
    are gray levels from 0 to 2^bits - 1. No format defines black and white for signed, 32-bit and floating-point
    samples. A palette, or RGB, is read if all its colours are gray; an alpha channel, if every pixel is opaque.

    Args:
        path: file.
        value_range: samples (black, white), for instance (-3000.0, 3000.0), of which every sample is one or lies
            between; None for the full scale of unsigned samples.
        page: page of a file of several, from 0; None for a file of one page. The pages of an .npy file are the first
            axis of an array N H W, those of an .npz file its arrays.
        to_gray: whether colours are replaced by their luminance (ITU-R BT.601), with a UserWarning if the colours of a
            pixel differ. False raises for them.

    Returns:
        H W: uint8, or uint16 from 16-bit samples; float32 in 0..1 with `value_range`, or from 12-bit samples.

    Raises:
        OSError: if the file cannot be opened.
        TypeError: if `value_range` is not a pair of numbers, or `page` no whole number.
        ValueError: if the file is damaged or no picture, or has too many pixels or none; if it is in colours or partly
            transparent; if it has several pages and `page` is None, or no such page; if `value_range` is missing or
            does not hold every sample, or a sample is NaN; if all 16-bit samples are below 4096, or all 8-bit samples
            below 2, but not all 0.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Image.fromarray(np.array([[-2.0, 0.0, 2.0]], np.float32)).save(f"{folder}/line.tif")
        ...     read_picture(f"{folder}/line.tif", value_range=(-2.0, 2.0)).tolist()
        [[0.0, 0.5, 1.0]]
    """
    _check_range(value_range)
    samples = read_samples(path, page, to_gray=to_gray)
    if samples.difference:
        warnings.warn(
            f"{path} is in colours that differ by up to {samples.difference} of 255: their luminance is used. If they "
            "are a colour map, undo it by its inverse, because the luminance is no amplitude",
            stacklevel=2,
        )
    values, bits = samples.values, samples.bits
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        count = int((~np.isfinite(values)).sum())
        raise ValueError(f"{path} has {count} samples that are NaN or infinite: replace them by numbers")
    least, most = values.min().item(), values.max().item()
    if value_range is not None:
        black, white = value_range
        if least < black or most > white:
            raise ValueError(
                f"value_range must hold all samples of {path}, {least:g} to {most:g}, got {black:g} to {white:g}: "
                "pass a wider range, or clip the samples first"
            )
        return _scaled(samples, black, white)
    if bits is None:
        raise ValueError(
            f"{path} holds {values.dtype} samples, {least:g} to {most:g}, whose black and white no format defines: "
            f"pass value_range=(BLACK, WHITE), for instance (0.0, 1.0) or (-3000.0, 3000.0)"
        )
    full = 2**bits - 1
    if 0 < most <= _DARK.get(bits, 0):
        raise ValueError(
            f"{path} holds {bits}-bit samples of at most {most}, where {full} is white: pass value_range=(0, {full}) "
            f"if the picture is that dark, or value_range=(0, {most}), or another, if {most} is bright"
        )
    if bits == 1:
        return (values ^ samples.inverted) * np.uint8(255)
    if full != np.iinfo(values.dtype).max:
        return _scaled(samples, 0, full)
    return full - values if samples.inverted else values


def read_amplitudes(path: str | os.PathLike[str], *, page: int | None = None) -> npt.NDArray[np.float32]:
    """Read the samples of a gray picture or array as stored, without a meaning of black and white.

    They are for `predict_tiled(..., normalize="survey")`, which takes its statistics from them. NaN samples stay.

    Args:
        path: file in one of the formats of `read_picture`, gray.
        page: page of a file of several, from 0; None for a file of one page.

    Returns:
        H W, float32. An .npy file of such samples is mapped into memory, and not read as a whole.

    Raises:
        OSError: if the file cannot be opened.
        TypeError: if `page` is no whole number.
        ValueError: if the file is damaged, no picture or not gray, or its smallest sample is white, or it has several
            pages and `page` is None, or no such page.
    """
    samples = read_samples(path, page, to_gray=True)
    if samples.difference:
        raise ValueError(
            f"{path} must store amplitudes, but is in colours: undo its colour map by the inverse, because the "
            "luminance of colours is no amplitude"
        )
    if samples.inverted:
        raise ValueError(
            f"{path} must store amplitudes, but says that its smallest sample is white: read it as a picture"
        )
    return samples.values.astype(np.float32, copy=False)


def as_uint8(picture: Gray) -> npt.NDArray[np.uint8]:
    """Return a picture of `read_picture` in 8 bits, rounded.

    Example:
        >>> as_uint8(np.array([[0, 257, 65535]], np.uint16)).tolist(), as_uint8(np.array([[0.5]], np.float32)).tolist()
        ([[0, 1, 255]], [[128]])
    """
    if picture.dtype == np.uint8:
        return picture.astype(np.uint8, copy=False)
    if picture.dtype == np.uint16:
        return ((picture.astype(np.uint32) + 128) // 257).astype(np.uint8)
    return np.rint(picture * np.float32(255)).astype(np.uint8)


def read_samples(path: str | os.PathLike[str], page: int | None, *, to_gray: bool) -> Samples:
    """Return the samples of a file with what the file says about them; see `read_picture`."""
    if page is not None and (not isinstance(page, int) or isinstance(page, bool)):
        raise TypeError(f"page must be a whole number or None, got {page!r}")
    if is_array_file(path):
        return read_array_samples(path, page)
    return read_image_samples(path, page, to_gray=to_gray)


def _check_range(value_range: tuple[float, float] | None) -> None:
    if value_range is None:
        return
    numbers = isinstance(value_range, tuple | list) and len(value_range) == 2
    if not numbers or not all(isinstance(v, Real) and not isinstance(v, bool) for v in value_range):
        raise TypeError(f"value_range must be a pair of numbers (BLACK, WHITE), or None, got {value_range!r}")
    if not (all(map(math.isfinite, value_range)) and value_range[0] < value_range[1]):
        raise ValueError(f"value_range must be finite, black below white, got {tuple(map(float, value_range))}")


def _scaled(samples: Samples, black: float, white: float) -> npt.NDArray[np.float32]:
    unit = (samples.values.astype(np.float64) - black) / (white - black)
    return (1 - unit if samples.inverted else unit).astype(np.float32)
