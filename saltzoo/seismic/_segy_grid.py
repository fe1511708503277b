"""Grid of a SEG-Y file: which header words number its lines, and which trace is where."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ._segy_headers import HEADER
from ._segy_values import axis_of, count_of, distinct_of, values_of
from ._segy_words import CROSSLINE, INLINE, OFFSET, TraceWords

Numbers = npt.NDArray[np.int64]

PAIRS = (
    (INLINE, CROSSLINE),
    (9, 21),
    (5, 21),
    (17, 25),
    (9, 17),
    (181, 185),
    (17, 21),
    (197, 201),
    (213, 217),
    (221, 225),
)
"""First bytes of inline and crossline number: the standard's, then those of other writers."""

LINES = (21, 193, 17, 25, 5, 1)
"""First bytes of words that number the traces of a 2-D line: the number of the CDP first."""

WORDS = {
    1: "trace in line",
    5: "trace in file",
    9: "field record",
    13: "trace in record",
    17: "source point",
    21: "CDP",
    25: "trace in CDP",
    37: "offset",
    73: "source x",
    77: "source y",
    81: "group x",
    85: "group y",
    181: "CDP x",
    185: "CDP y",
    189: "inline",
    193: "crossline",
    197: "shot point",
    **dict.fromkeys(range(201, 238, 4), "no standard meaning"),
}
"""Header words of 4 bytes that an error lists if they vary."""

_SPARSE = 10
"""Largest number of grid cells a trace."""


@dataclass(frozen=True, eq=False)
class Grid:
    """Places of the traces on an evenly spaced grid of lines.

    Attributes:
        iline: first byte of the inline number; 0 for a 2-D line.
        xline: first byte of the crossline number; 0 if traces are numbered as they are stored.
        inlines: number of each inline.
        crosslines: number of each crossline.
        order: traces in the order of their cells; traces of one cell as in the file.
        cells: cell of each trace of `order`: index of the inline x number of crosslines + index of the crossline.
    """

    iline: int
    xline: int
    inlines: Numbers
    crosslines: Numbers
    order: Numbers
    cells: Numbers

    def traces_of_inlines(self, first: int, stop: int) -> tuple[Numbers, Numbers]:
        """Return all traces of a range of inlines, duplicates too, and their cells."""
        width = len(self.crosslines)
        low, high = np.searchsorted(self.cells, (first * width, stop * width))
        return self.order[low:high], self.cells[low:high]

    @property
    def duplicates(self) -> int:
        """Number of traces at cells that an earlier trace has."""
        return int((np.diff(self.cells) == 0).sum())


def find_grid(words: TraceWords, iline: int | None, xline: int | None) -> Grid:
    """Place the traces of a file on a grid.

    Args:
        words: words of the trace headers.
        iline: first byte of the inline number, 0 for a 2-D line, None to find it.
        xline: first byte of the crossline number, None to find it.

    Raises:
        ValueError: if there is no grid, or the file is prestack.
    """
    for name, place in (("iline", iline), ("xline", xline)):
        if place is not None and not (isinstance(place, int) and (1 <= place <= HEADER - 3 or place == 0)):
            raise ValueError(f"{name} must be the first byte of a header word, 1 to {HEADER - 3}, got {place!r}")
    if iline == 0:
        return _line(words, xline) or _stored_order(words)
    if (iline is None) != (xline is None):
        raise ValueError(
            f"iline and xline must be given together, got {iline} and {xline}: pass both (--iline BYTE --xline BYTE), "
            "or iline=0 for a 2-D line"
        )
    if iline and xline:
        return _grid_of(words, iline, xline)
    for first, second in PAIRS:
        numbers = words.get(first, second)
        if _is_grid(numbers, words, standard=first == INLINE):
            return _place(first, second, numbers)
    line = _line(words, None)
    if line is None:
        raise ValueError(f"{words.path} must have header words that number its lines, got none: {_advice(words)}")
    return line


def _grid_of(words: TraceWords, iline: int, xline: int) -> Grid:
    """Place the traces by two words that the user names."""
    numbers = words.get(iline, xline)
    _check_poststack(words, numbers)
    cells = count_of(numbers[0]) * count_of(numbers[1])
    if cells > _SPARSE * words.traces:
        raise ValueError(
            f"bytes {iline} and {xline} of {words.path} must number a grid, got {cells} cells for {words.traces} "
            f"traces: {_advice(words)}"
        )
    return _place(iline, xline, numbers)


def _is_grid(numbers: Numbers, words: TraceWords, *, standard: bool) -> bool:
    """Return whether two words number a grid.

    Raises:
        ValueError: if they do, but several traces with different offsets share each place.
    """
    if any(not word.any() for word in numbers) or ((numbers.max(1) == numbers.min(1)).all() and words.traces > 1):
        return False
    if not standard and (numbers.max(1) == numbers.min(1)).any():
        return False  # a single line is taken from the standard's words only: others may be constants
    if count_of(numbers[0]) * count_of(numbers[1]) > _SPARSE * words.traces:
        return False
    distinct = distinct_of(numbers)
    _check_poststack(words, numbers)
    # Shots and receivers make a grid as well, with an offset that varies.
    return 2 * distinct > words.traces and (standard or np.ptp(words.get(OFFSET)) == 0)


def _check_poststack(words: TraceWords, numbers: Numbers) -> None:
    """Raise ValueError if half of the traces or more lie where another one of another offset lies."""
    (offsets,) = words.get(OFFSET)
    if np.ptp(offsets) == 0:
        return
    places = distinct_of(numbers)
    different = distinct_of(np.vstack((numbers, offsets)))
    if 2 * (different - places) >= words.traces:
        raise ValueError(
            f"{words.path} seems to be prestack: {words.traces} traces at {places} places, with offsets "
            f"{offsets.min()} to {offsets.max()} at byte {OFFSET}: stack it, or write the traces of one "
            "offset to a file"
        )


def _place(iline: int, xline: int, numbers: Numbers) -> Grid:
    inlines, crosslines = axis_of(numbers[0]), axis_of(numbers[1])
    rows, columns = (
        (word - axis[0]) // (axis[1] - axis[0] if len(axis) > 1 else 1)
        for word, axis in zip(numbers, (inlines, crosslines), strict=True)
    )
    cells = rows * len(crosslines) + columns
    order = np.argsort(cells, kind="stable")
    return Grid(iline, xline, inlines, crosslines, order, cells[order])


def _line(words: TraceWords, xline: int | None) -> Grid | None:
    """Return a grid of one line whose traces a word numbers, evenly but for gaps; None if there is no such word."""
    for place in (xline,) if xline else LINES:
        (word,) = words.get(place)
        if words.traces == 1 or (len(values_of(word)) == words.traces and count_of(word) <= _SPARSE * words.traces):
            return _place(0, place, np.vstack((np.ones_like(word), word)))
        if place in (LINES[0], xline):
            _check_poststack(words, np.vstack((np.ones_like(word), word)))
        if xline:
            raise ValueError(
                f"byte {xline} of {words.path} must number the traces of a 2-D line, each once, got "
                f"{len(values_of(word))} numbers for {words.traces} traces: pass another xline (--xline BYTE)"
            )
    return None


def _stored_order(words: TraceWords) -> Grid:
    numbers = np.arange(1, words.traces + 1, dtype=np.int64)
    return _place(0, 0, np.vstack((np.ones_like(numbers), numbers)))


def _advice(words: TraceWords) -> str:
    """Return which bytes to pass, from the words that vary but are not different in every trace."""
    found = []
    for place, name in WORDS.items():
        (word,) = words.get(place)
        distinct = len(values_of(word))
        if 1 < distinct < max(3, words.traces) and place != OFFSET:
            found.append(f"byte {place} ({name}) {word.min()} to {word.max()}, {distinct} values")
    listed = "; ".join(found) or "none, all are constant or different in each trace"
    return (
        "pass iline=BYTE and xline=BYTE (--iline, --xline), or iline=0 for a 2-D line in the order of the file. Words "
        f"that may number lines: {listed}"
    )
