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
        for first in range(0, len(stored), step):
            result[first : first + step] = _decode_ibm(stored[first : first + step])


def _decode_ibm(stored: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Return IBM's numbers (-1)^sign x 16^(exponent - 64) x fraction / 2^24 as float32."""
    bits = stored.astype(np.uint32)
    # Fraction and power of 2 are numbers of float32 each, whose product is exact: 16^(e - 64) / 2^24 = 2^(4e - 280).
    fraction = (bits & 0xFFFFFF).view(np.int32).astype(np.float32)
    power = ((bits >> 22) & 0x1FC).view(np.int32)
    power -= 280 - 127  # bias of float32
    if power.max(initial=1) > 254 or (power.min(initial=1) < 1 and fraction[power < 1].any()):
        return (_IBM_SCALE[bits >> 24] * (bits & 0xFFFFFF)).astype(np.float32)
    np.maximum(power, 0, out=power)  # zeros
    power <<= 23
    scale = power.view(np.uint32)
    bits &= 0x80000000
    scale |= bits
    fraction *= scale.view(np.float32)
    return fraction
