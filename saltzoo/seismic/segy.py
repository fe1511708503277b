"""Reader of SEG-Y files, revisions 0 to 2.

It reads with NumPy. segyio's reader refuses irregular grids, additional trace headers and contradicting sizes,
reads a trace at a time, and does not hand out headers as bytes; the tests compare the values with it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from io import RawIOBase
from itertools import pairwise, repeat
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from ._segy_checks import check_samples
from ._segy_formats import decode, decode_in_place, decode_into, format_name, stored_dtype
from ._segy_grid import Grid, find_grid
from ._segy_headers import HEADER, ByteOrder, Layout, is_ebcdic, read_layout, read_text
from ._segy_words import CODE, SCALAR, TraceWords, read_words
from .horizon_files import scale_coordinates
from .survey import Amplitudes, Coordinates, Survey

_SAMPLES = 2**21
"""Samples of traces that are read to be written again at a time."""

_READ = 2**16
"""Samples that are read and decoded at a time: they stay in the processor's cache."""

_SLAB = 2**24
"""Bytes of a slab of float32."""

_COORDINATES = ((181, 185), (73, 77))
"""First bytes of x and y: those of the CDP, then those of the source."""

_DEAD = 2
"""Trace identification code of a dead trace, at byte 29."""


@dataclass(frozen=True, eq=False)
class SegySource:
    """Samples of a SEG-Y file.

    Attributes:
        layout: where its parts are.
        grid: where its traces are.
        dead: whether a trace is marked as dead.
    """

    layout: Layout
    grid: Grid
    dead: npt.NDArray[np.bool_]

    @cached_property
    def record(self) -> np.dtype[Any]:
        """Type of a trace: "header", with additional headers, and "samples"."""
        layout = self.layout
        return np.dtype([("header", f"V{HEADER + layout.extra}"), ("samples", self._stored, (layout.samples,))])

    def runs(self, traces: npt.NDArray[np.int64]) -> Iterator[tuple[int, int]]:
        """Yield (first, stop) of ascending traces that follow each other in the file, in blocks of 8 MiB."""
        step = max(1, _SAMPLES // self.layout.samples)
        bounds = [0, *(np.flatnonzero(np.diff(traces) != 1) + 1).tolist(), len(traces)]
        for begin, end in pairwise(bounds):
            for first in range(begin, end, step):
                yield first, min(first + step, end)

    def read_records(self, file: BinaryIO, first: int, count: int) -> npt.NDArray[Any]:
        """Read traces that follow each other, as `record`."""
        # A map of the file would keep every page that was read in this process's memory, and fail hard if it is cut.
        file.seek(self.layout.first + first * self.layout.stride)
        read = np.fromfile(file, self.record, count)
        if len(read) < count:
            raise _shorter(self.layout.path)
        return read

    def read(self, inlines: slice, crosslines: slice, samples: slice) -> Amplitudes:
        """Return a part of the volume; see `Source`."""
        traces = self.live_traces[inlines, crosslines]
        length = len(range(samples.start, samples.stop, samples.step))
        result = np.empty((*traces.shape, length), np.float32)
        if not result.size:
            return result
        flat, traces, places = result.reshape(-1, length), traces.ravel(), None
        if traces.min() < 0:
            missing = traces < 0
            flat[missing] = np.nan
            places = np.flatnonzero(~missing)
            traces = traces[places]
        if (traces[1:] < traces[:-1]).any():  # to the order of the file
            order = np.argsort(traces)
            traces, places = traces[order], order if places is None else places[order]
        step = max(1, _READ // self.layout.samples)
        whole = places is None and length == self.layout.samples
        with open(self.layout.path, "rb", buffering=0) as file:
            if whole and self._stored.itemsize == 4 and len(traces) > 1 and (np.diff(traces) > 1).all():
                self._read_alone(file, traces, flat)
                return result
            records = np.empty(min(step, len(traces)), self.record)
            for first in range(0, len(traces), step):
                part = slice(first, first + step)
                stored = self._read_samples(file, traces[part], records)[:, samples]
                if places is None:
                    decode_into(flat[part], stored, self.layout.format)
                else:
                    flat[places[part]] = decode(stored, self.layout.format)
        return result

    def _read_alone(self, file: RawIOBase, traces: npt.NDArray[np.int64], values: Amplitudes) -> None:
        """Read traces, no two of which follow each other, to where their samples belong, and decode them there."""
        places = self.layout.first + HEADER + self.layout.extra + traces * self.layout.stride
        _read_rows(file, values.view(np.uint8), places.tolist(), self.layout.path)
        decode_in_place(values, self._stored, self.layout.format)

    @cached_property
    def _stored(self) -> np.dtype[Any]:
        """Type of a stored sample."""
        return stored_dtype(self.layout.format, self.layout.order)

    @cached_property
    def live_traces(self) -> npt.NDArray[np.int64]:
        """The first trace at each place, (inline, crossline), -1 where it is missing or dead."""
        cells, order = self.grid.cells, self.grid.order
        first = np.diff(cells, prepend=-1) > 0
        found = np.full(len(self.grid.inlines) * len(self.grid.crosslines), -1, np.int64)
        found[cells[first]] = np.where(self.dead[order], -1, order)[first]
        return found.reshape(len(self.grid.inlines), len(self.grid.crosslines))

    def _read_samples(
        self, file: RawIOBase, traces: npt.NDArray[np.int64], records: npt.NDArray[Any]
    ) -> npt.NDArray[Any]:
        """Read ascending traces into records, and return their samples as stored, (trace, sample)."""
        stride, read = self.layout.stride, records[: len(traces)].view(np.uint8)
        if traces[-1] - traces[0] == len(traces) - 1:
            rows, places = read[None], traces[:1]
        else:
            rows, places = read.reshape(-1, stride), traces
        _read_rows(file, rows, (self.layout.first + places * stride).tolist(), self.layout.path)
        return records["samples"][: len(traces)]

    def coordinates(self) -> tuple[Coordinates, Coordinates] | None:
        """Return x and y by the trace headers; see `Source`."""
        traces = self.live_traces
        there = traces >= 0
        for places in _COORDINATES:
            *stored, scalars = read_words(self.layout, *places, SCALAR)[:, traces[there]]
            if any(word.any() for word in stored):
                break
        else:
            return None
        x, y = np.full((2, *traces.shape), np.nan)
        x[there], y[there] = scale_coordinates(stored[0], scalars), scale_coordinates(stored[1], scalars)
        return x, y

    def details(self) -> dict[str, Any]:
        """Return format, byte order and header words; see `Source`."""
        layout = self.layout
        with open(layout.path, "rb") as file:
            encoding = "EBCDIC" if is_ebcdic(file.read(3200)) else "ASCII"
        return {
            "format": f"SEG-Y {layout.revision}, {format_name(layout.format)} ({layout.format}), {layout.order}-endian",
            "traces": layout.traces,
            "duplicates": self.grid.duplicates,
            "dead": int(self.dead.sum()),
            "header_words": {"inline": self.grid.iline, "crossline": self.grid.xline},
            "text_encoding": encoding,
            "text": read_text(layout.path),
        }

    def slab_size(self) -> int:
        """Return how many inlines hold 16 MiB; see `Source`."""
        return max(1, _SLAB // (4 * len(self.grid.crosslines) * self.layout.samples))


def _read_rows(file: RawIOBase, rows: npt.NDArray[np.uint8], places: Sequence[int], path: Path) -> None:
    """Fill each row from its place in the file.

    Raises:
        ValueError: if the file is too short.
    """
    if sys.platform == "linux":  # one call of the system a row
        if sum(map(os.preadv, repeat(file.fileno()), zip(rows, strict=False), places)) == rows.size:
            return
    for row, place in zip(rows, places, strict=True):
        file.seek(place)
        left = row.data
        while len(left):  # a disk of the network may hand out less than it is asked for
            if not (count := file.readinto(left)):
                raise _shorter(path)
            left = left[count:]


def _shorter(path: Path) -> ValueError:
    return ValueError(f"{path} has become shorter since it was opened: open it again")


def open_segy(
    path: Path,
    *,
    iline: int | None = None,
    xline: int | None = None,
    sample_format: int | None = None,
    byte_order: ByteOrder | None = None,
) -> Survey:
    """Open a SEG-Y file; see `open_survey`."""
    layout = read_layout(path, sample_format=sample_format, byte_order=byte_order)
    if sample_format is None:
        check_samples(layout)
    words = TraceWords(layout)
    grid = find_grid(words, iline, xline)
    dead = words.get(CODE)[0] == _DEAD
    source = SegySource(layout, grid, dead)
    interval = layout.interval or 1.0
    return Survey(
        path=path,
        inlines=grid.inlines,
        crosslines=grid.crosslines,
        samples=layout.start + interval * np.arange(layout.samples, dtype=np.float64),
        unit="ms" if layout.interval else "",
        live=source.live_traces >= 0,
        source=source,
    )
