"""Check that the samples of a SEG-Y file are what its headers say, by their statistics."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ._segy_formats import IBM, IEEE, decode, format_name, stored_dtype
from ._segy_headers import HEADER, Layout

_TRACES = 200
_FEWEST = 1000
"""Samples other than 0 below which statistics say nothing."""

_WIDE = 30.0
"""Standard deviation of log2 of the amplitudes that no survey reaches: 2 to 4 is usual."""


def check_samples(layout: Layout) -> None:
    """Raise ValueError if samples are IBM's where IEEE's are declared or the reverse, or in the other byte order.

    Files with few samples other than 0, or with few different ones, pass.
    """
    stored = _sample(layout)
    if stored.dtype.itemsize == 1 or np.count_nonzero(stored) < _FEWEST:
        return
    other = "little" if layout.order == "big" else "big"
    swapped = stored.view(stored_dtype(layout.format, other))
    if _is_disordered(stored, layout.format) and not _is_disordered(swapped, layout.format):
        raise ValueError(
            f"the samples of {layout.path} seem to be in {other}-endian byte order, but its headers are "
            f"{layout.order}-endian: correct the file, or pass byte_order={other!r} (--byte-order {other}) if the "
            "headers are so, too"
        )
    if layout.format not in (IBM, IEEE):
        return
    wrong = _is_ibm(stored) if layout.format == IEEE else _is_ieee(stored)
    if wrong:
        code = IBM if layout.format == IEEE else IEEE
        raise ValueError(
            f"the samples of {layout.path} seem to be {format_name(code)}, but the format code at byte 3225 is "
            f"{layout.format}, {format_name(layout.format)} (kurtosis {_kurtosis(stored, code):.3g} if read as "
            f"{format_name(code)}, {_kurtosis(stored, layout.format):.3g} as declared): pass sample_format={code} "
            f"(--sample-format {code}), or sample_format={layout.format} if the code is right"
        )


def _sample(layout: Layout) -> npt.NDArray[Any]:
    """Return stored samples of traces spread evenly over the file, (trace, sample)."""
    dtype = stored_dtype(layout.format, layout.order)
    picked = np.unique(np.linspace(0, layout.traces - 1, _TRACES).astype(np.int64))
    found = np.empty((len(picked), layout.samples), dtype)
    with open(layout.path, "rb") as file:
        for row, trace in enumerate(picked.tolist()):
            file.seek(layout.first + trace * layout.stride + HEADER + layout.extra)
            found[row] = np.fromfile(file, dtype, layout.samples)
    return found


def _is_disordered(stored: npt.NDArray[Any], code: int) -> bool:
    """Return whether samples look like numbers whose bytes are in the wrong order."""
    with np.errstate(invalid="ignore"):  # bytes in the wrong order may be NaN of the kind that signals
        values = decode(stored, code).astype(np.float64)
    if stored.dtype.kind == "f" or code == IBM:
        sizes = np.abs(values[np.isfinite(values) & (values != 0)])
        return not sizes.size or float(np.log2(sizes).std()) > _WIDE or bool((~np.isfinite(values)).mean() > 0.002)
    # The low byte of a sample is noise: in front, it makes neighbours independent, whose mean difference is 4/3.
    spread = np.abs(values - np.median(values)).mean()
    return bool(np.abs(np.diff(values, axis=1)).mean() > 1.1 * spread) if values.shape[1] > 1 else False


def _leading_digits(stored: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the first hexadecimal digit of the fraction of each sample other than 0, were it IBM's."""
    bits = stored.view(stored_dtype(IBM, "big" if stored.dtype.byteorder == ">" else "little")).astype(np.uint32)
    return (bits[bits & 0x7FFFFFFF != 0] >> 20) & 15


def _is_ibm(stored: npt.NDArray[Any]) -> bool:
    """Return whether samples declared as IEEE's are IBM's: their first digit is never 0, that of others in 1 of 16.

    IBM's numbers read as IEEE's lose their small values, since their exponent counts fours of powers of 2: only a
    set of varied amplitudes of both signs can tell.
    """
    digits = _leading_digits(stored)
    values = stored[np.isfinite(stored) & (stored != 0)]
    varied = len(np.unique(np.abs(values))) >= _FEWEST // 4 and 0.1 < (values > 0).mean() < 0.9
    return bool(varied and (digits != 0).all() and _kurtosis(stored, IEEE) < _kurtosis(stored, IBM))


def _is_ieee(stored: npt.NDArray[Any]) -> bool:
    """Return whether samples declared as IBM's are IEEE's: IBM's writers leave no first digit 0."""
    return bool((_leading_digits(stored) == 0).mean() > 0.02)


def _kurtosis(stored: npt.NDArray[Any], code: int) -> float:
    """Return the kurtosis of samples other than 0: about 3 to 30 for amplitudes, below 2 if their sizes are alike."""
    bits = stored.view(stored_dtype(code, "big" if stored.dtype.byteorder == ">" else "little"))
    values = decode(bits, code).astype(np.float64)
    known = values[np.isfinite(values) & (values != 0)]
    if not known.size or not (deviation := known.std()):
        return 0.0
    return float(np.square(np.square((known - known.mean()) / deviation)).mean())
