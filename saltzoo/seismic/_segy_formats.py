"""Sample formats of SEG-Y files, by the standard's codes."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

IBM, IEEE, INT8 = 1, 5, 8

FORMATS: dict[int, np.dtype[Any]] = {
    IBM: np.dtype("u4"),
    2: np.dtype("i4"),
    3: np.dtype("i2"),
    IEEE: np.dtype("f4"),
    6: np.dtype("f8"),
    INT8: np.dtype("i1"),
    10: np.dtype("u4"),
    11: np.dtype("u2"),
    16: np.dtype("u1"),
}
"""Type of a stored sample. IBM's hexadecimal floating-point numbers are 4 bytes that no type of NumPy reads."""

_IBM_SCALE = np.array([(1 - 2 * (top >> 7)) * 16.0 ** ((top & 127) - 70) for top in range(256)])
"""By sign and exponent: what the 24 bits of the fraction are multiplied by."""


def format_name(code: int) -> str:
    """Return a format's name, such as "IBM float32".

    Example:
        >>> format_name(1), format_name(3)
        ('IBM float32', 'int16')
    """
    return "IBM float32" if code == IBM else f"IEEE {FORMATS[code]}" if code in (IEEE, 6) else str(FORMATS[code])


def stored_dtype(code: int, order: str) -> np.dtype[Any]:
    """Return the type of a stored sample in a byte order, "big" or "little"."""
    return FORMATS[code].newbyteorder(">" if order == "big" else "<")


def decode(stored: npt.NDArray[Any], code: int) -> npt.NDArray[np.float32]:
    """Return stored samples as numbers, rounded to float32.

    Example:
        >>> decode(np.array([0x42640000, 0xC1100000, 0], ">u4"), 1).tolist()
        [100.0, -1.0, 0.0]
    """
    with np.errstate(over="ignore", invalid="ignore"):  # IBM's numbers reach 7e75, and become infinite
        if code == IBM:
            bits = stored.astype(np.uint32, copy=False)
            return (_IBM_SCALE[bits >> 24] * (bits & 0xFFFFFF)).astype(np.float32)
        return stored.astype(np.float32)
