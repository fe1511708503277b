"""Survey: a seismic volume, or a 2-D line, that is read part by part."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import EllipsisType
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from .._checks import check_choice, check_counts, closest

Amplitudes = npt.NDArray[np.float32]
Coordinates = npt.NDArray[np.float64]
Direction = Literal["inline", "crossline"]
Index = int | np.integer[Any] | slice | EllipsisType

_LINES = 32
"""Inlines that statistics are taken from."""


class Source(Protocol):
    """What reads the samples of one file format."""

    def read(self, inlines: slice, crosslines: slice, samples: slice) -> Amplitudes:
        """Return a part of the volume, (inline, crossline, sample), NaN where there is no live trace.

        Args:
            inlines: indices, with start, stop and a positive step; so are the others.
            crosslines: indices.
            samples: indices.
        """

    def coordinates(self) -> tuple[Coordinates, Coordinates] | None:
        """Return x and y, each (inline, crossline), NaN where there is no live trace; None if the file gives none."""

    def details(self) -> dict[str, Any]:
        """Return what only this format tells, for `describe`."""

    def slab_size(self) -> int:
        """Return the number of inlines that are read and written best at a time."""


@dataclass(frozen=True)
class RobustStatistics:
    """Statistics of amplitudes that a few spikes do not move.

    Attributes:
        median: middle amplitude.
        deviation: 1.4826 times the median absolute deviation; where that is 0, the standard deviation, or 1.
        low: 1st percentile.
        high: 99th percentile.
        samples: number of samples they were taken from.
    """

    median: float
    deviation: float
    low: float
    high: float
    samples: int


@dataclass(frozen=True, eq=False)
class Survey:
    """A volume on a grid of inlines and crosslines, whose samples stay in the file until they are asked for.

    It slices like an array (inline, crossline, sample) of float32, with integers and slices of positive step. Missing
    and dead traces are NaN. A 2-D line is a survey of one inline.

    Attributes:
        path: file or folder.
        inlines: number of each inline, evenly spaced and ascending.
        crosslines: number of each crossline, or of each trace of a 2-D line.
        samples: time or depth of each sample.
        unit: unit of `samples`, "ms" or "m"; "" if the file gives none.
        live: whether there is a trace that is not marked as dead, (inline, crossline).
        source: reader of the samples.
    """

    path: Path
    inlines: npt.NDArray[np.int64]
    crosslines: npt.NDArray[np.int64]
    samples: npt.NDArray[np.float64]
    unit: str
    live: npt.NDArray[np.bool_]
    source: Source

    @property
    def shape(self) -> tuple[int, int, int]:
        """Numbers of inlines, crosslines and samples."""
        return len(self.inlines), len(self.crosslines), len(self.samples)

    @property
    def ndim(self) -> int:
        """3."""
        return 3

    @property
    def dtype(self) -> np.dtype[np.float32]:
        """Type of the samples as they are returned."""
        return np.dtype(np.float32)

    def __getitem__(self, key: Index | tuple[Index, ...]) -> Amplitudes:
        axes = _axes(key)
        parts = [_part(index, size) for index, size in zip(axes, self.shape, strict=True)]
        values = self.source.read(*parts)
        return values[tuple(slice(None) if isinstance(index, slice) else 0 for index in axes)]

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        if copy is False:
            raise ValueError("copy must be True or None: a survey is read from its file")
        return self[:].astype(np.float32 if dtype is None else dtype, copy=False)

    def line(self, direction: Direction, number: int) -> Amplitudes:
        """Return one vertical section as a picture.

        Args:
            direction: "inline" or "crossline".
            number: number of the line, one of `inlines` or `crosslines`.

        Returns:
            (sample, trace), NaN where the trace is missing or dead.

        Raises:
            ValueError: if there is no such line.
        """
        index = self.index_of(direction, number)
        return (self[index] if direction == "inline" else self[:, index]).T

    def index_of(self, direction: Direction, number: int) -> int:
        """Return the index of a line by its number.

        Raises:
            ValueError: if there is no such line.
        """
        check_choice("direction", direction, ("inline", "crossline"))
        numbers = self.inlines if direction == "inline" else self.crosslines
        found = np.flatnonzero(numbers == number)
        if not len(found):
            step = f", step {numbers[1] - numbers[0]}" if len(numbers) > 1 else ""
            hint = closest(str(number), map(str, numbers[:10_000].tolist()))
            raise ValueError(
                f"{direction} must be one of {numbers[0]} to {numbers[-1]}{step}, got {number}. {hint}".rstrip()
            )
        return int(found[0])

    def coordinates(self) -> tuple[Coordinates, Coordinates]:
        """Return x and y of each trace in units of length, each (inline, crossline), NaN where no trace is live.

        SEG-Y: bytes 181 and 185 of the trace headers, those of the CDP, or 73 and 77, those of the source, where the
        former are 0 in all traces; scaled by bytes 71-72. Zarr: the arrays `cdp_x` and `cdp_y`, or `x` and `y`.

        Raises:
            ValueError: if the file gives none.
        """
        found = self.source.coordinates()
        if found is None:
            raise ValueError(f"{self.path} must give coordinates of its traces, got none: see `Survey.coordinates`")
        return found

    def robust_statistics(self, *, samples: int = 2**22) -> RobustStatistics:
        """Return median and deviation of a sample of the live traces, spread evenly over 32 inlines at most.

        Traces whose samples are all equal count as dead.

        Args:
            samples: number of samples they are taken from, about, at least one trace a line.

        Raises:
            ValueError: if there is no live trace among them.
        """
        check_counts(samples=samples)
        with_traces = np.flatnonzero(self.live.any(1))
        lines = with_traces[np.unique(np.linspace(0, len(with_traces) - 1, _LINES).astype(int))[: len(with_traces)]]
        found = []
        for line in lines.tolist():
            columns = np.flatnonzero(self.live[line])
            step = max(1, round(len(columns) * len(lines) * len(self.samples) / samples))
            section = self.source.read(
                slice(line, line + 1, 1),
                slice(int(columns[0]), int(columns[-1]) + 1, step),
                slice(0, len(self.samples), 1),
            )[0]
            varied = np.fmin.reduce(section, 1) < np.fmax.reduce(section, 1)
            traces = section[varied] if len(self.samples) > 1 else section
            found.append(traces[np.isfinite(traces)])
        sample = np.concatenate(found, dtype=np.float64) if found else np.empty(0)
        del found
        if not sample.size:
            raise ValueError(f"{self.path} must hold a live trace, got none among {len(lines)} lines: check the file")
        # The order of the sample means nothing: it is changed in place, which saves copies.
        low, high = np.percentile(sample, (1, 99), overwrite_input=True).tolist()
        median = float(np.median(sample, overwrite_input=True))
        distances = sample - median
        np.abs(distances, out=distances)
        deviation = 1.4826 * float(np.median(distances, overwrite_input=True)) or float(sample.std()) or 1.0
        return RobustStatistics(median, deviation, low, high, sample.size)


def _axes(key: Index | tuple[Index, ...]) -> list[int | np.integer[Any] | slice]:
    """Return one index an axis."""
    given = key if isinstance(key, tuple) else (key,)
    dots = [place for place, index in enumerate(given) if index is Ellipsis]
    if len(given) - len(dots) > 3 or len(dots) > 1:
        raise IndexError(
            f"a survey has 3 axes, got the indices {key!r}: give one for each of inline, crossline, sample"
        )
    before = given[: dots[0]] if dots else given
    after = given[dots[0] + 1 :] if dots else ()
    filled = (*before, *([slice(None)] * (3 - len(before) - len(after))), *after)
    return [index for index in filled if not isinstance(index, EllipsisType)]


def _part(index: int | np.integer[Any] | slice, size: int) -> slice:
    """Return an index as a slice with start, stop and step."""
    if isinstance(index, slice):
        start, stop, step = index.indices(size)
        if step < 0:
            raise IndexError(f"the step of a slice must be positive, got {index.step}: reverse the result")
        return slice(start, max(start, stop), step)
    if not isinstance(index, int | np.integer) or isinstance(index, bool):
        raise IndexError(f"an index of a survey must be a whole number or a slice, got {index!r}: read the part first")
    if not -size <= index < size:
        raise IndexError(f"index must be in -{size}..{size - 1}, got {index}: use line() for numbers of lines")
    first = int(index) % size
    return slice(first, first + 1, 1)
