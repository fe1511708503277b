"""Words of the trace headers of a SEG-Y file."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ._segy_headers import Layout

Words = npt.NDArray[np.int64]

CODE, OFFSET, INLINE, CROSSLINE, SCALAR = 29, 37, 189, 193, 71
"""First bytes of the trace identification code, the offset, the standard's line numbers, the scalar of coordinates."""

_TWO_BYTES = (CODE, SCALAR)

_USUAL = (CODE, OFFSET, INLINE, CROSSLINE)
"""Words that the opening of nearly every file needs."""


@dataclass(frozen=True, eq=False)
class TraceWords:
    """Words of all trace headers. Those that nearly every file needs are read together and kept.

    A pass over the headers touches nearly every page of the file, and takes most of the time of opening it.

    Attributes:
        layout: where the headers are.
    """

    layout: Layout

    @property
    def path(self) -> Path:
        """File."""
        return self.layout.path

    @property
    def traces(self) -> int:
        """Number of traces."""
        return self.layout.traces

    def get(self, *places: int) -> Words:
        """Return signed words of all traces, (word, trace); `places` are their first bytes, from 1."""
        if set(places) <= set(_USUAL):
            return self._usual[[_USUAL.index(place) for place in places]]
        return read_words(self.layout, *places)

    @cached_property
    def _usual(self) -> Words:
        return read_words(self.layout, *_USUAL)


def read_words(layout: Layout, *places: int) -> Words:
    """Return signed words of all trace headers, (word, trace), in one pass; `places` are their first bytes, from 1."""
    order, names = "><"[layout.order == "little"], [str(place) for place in places]
    dtype = np.dtype(
        {
            "names": names,
            "formats": [f"{order}i{2 if place in _TWO_BYTES else 4}" for place in places],
            "offsets": [place - 1 for place in places],
            "itemsize": layout.stride,
        }
    )
    found = np.empty((len(names), layout.traces), np.int64)
    for first, count in layout.blocks():
        block = layout.map(dtype, first, count)
        for row, name in enumerate(names):
            found[row, first : first + count] = block[name]
    return found
