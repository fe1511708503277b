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

_REST = np.float32(2.0**-26)
"""What is left of the power of 2 in IBM's numbers."""

_IBM_BLOCK = 2**15
"""Samples that are converted at a time: all steps find them in the processor's cache."""


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
    result = np.empty(stored.shape, np.float32)
    decode_into(result, stored, code)
    return result


def decode_into(result: npt.NDArray[np.float32], stored: npt.NDArray[Any], code: int) -> None:
    """Write stored samples as numbers, rounded to float32, into an array of their shape (trace, sample)."""
    with np.errstate(over="ignore", invalid="ignore"):  # IBM's numbers reach 7e75, and become infinite
        if code != IBM:
            result[...] = stored
            return
        step = max(1, _IBM_BLOCK // max(1, stored[:1].size))
        space = np.empty((2, min(step, len(stored)), *stored.shape[1:]), np.uint32)
        for first in range(0, len(stored), step):
            part = stored[first : first + step]
            _decode_ibm(result[first : first + step], part, space[:, : len(part)])


def decode_in_place(values: npt.NDArray[np.float32], dtype: np.dtype[Any], code: int) -> None:
    """Turn stored samples of 4 bytes, whatever their type, into numbers where they are, (trace, sample)."""
    if code != IEEE:
        decode_into(values, values.view(dtype), code)
    elif not dtype.isnative:
        values.byteswap(inplace=True)


def _decode_ibm(result: npt.NDArray[np.float32], stored: npt.NDArray[Any], space: npt.NDArray[np.uint32]) -> None:
    """Write IBM's numbers (-1)^sign x 16^(exponent - 64) x fraction / 2^24; `space` has room for two integers each."""
    bits, fraction = space
    bits[...] = stored
    np.bitwise_and(bits, 0xFFFFFF, out=fraction)
    result[...] = fraction.view(np.int32)
    # As float32, sign and exponent e alone are the power (-1)^sign x 2^(2e - 127). Its square is 2^(4e - 254), and
    # 16^(e - 64) / 2^24 = 2^(4e - 280). All products but the last are exact wherever the result is not 0 or infinite.
    bits &= 0xFF000000
    power = bits.view(np.float32)
    result *= power
    np.abs(power, out=power)
    power *= _REST
    result *= power
