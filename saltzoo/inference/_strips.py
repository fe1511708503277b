"""Strips of tiles: from a picture to blended probabilities, with the memory of one strip."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ._axis import Axis
from ._run import Started
from ._source import Source

Floats = npt.NDArray[np.float32]

LARGE_STRIP = 2**25
"""Samples of a strip of rows from which on strips of columns are used if they are smaller: 128 MiB in float32.

Strips of rows are preferred because arrays lie in rows on the disk.
"""


@dataclass(frozen=True)
class Grid:
    """The axes of a tiled picture.

    Attributes:
        along: axis of the strips' positions.
        across: axis of the tiles in a strip.
        transposed: whether `along` is the picture's columns.
    """

    along: Axis
    across: Axis
    transposed: bool

    @classmethod
    def of(cls, rows: Axis, columns: Axis) -> Grid:
        """Return a grid with strips of rows, or of columns if the rows are very long and longer than the columns."""
        transposed = (
            rows.tile * columns.canvas > LARGE_STRIP and columns.tile * rows.canvas < rows.tile * columns.canvas
        )
        return cls(columns, rows, True) if transposed else cls(rows, columns, False)

    def counts(self, strips: int) -> tuple[int, int]:
        """Return the number of tiles in the first `strips` strips, and that of all tiles."""
        tiles = len(self.across.starts)
        return strips * tiles, len(self.along.starts) * tiles


class StripReader:
    """Reads strips of the canvas; what two strips share is read once."""

    def __init__(self, source: Source, grid: Grid) -> None:
        self._source, self._grid = source, grid
        self._first, self._strip = 0, np.empty((0, grid.across.canvas), np.float32)

    def read(self, number: int) -> Floats:
        """Return strip `number`, tile x canvas, in 0..1. Numbers ascend from call to call."""
        along, across = self._grid.along, self._grid.across
        start = along.starts[number]
        kept = self._strip[start - self._first :]
        first, last = start + len(kept), start + along.tile
        begin, end = along.to_canvas.span(first, last)
        rows = along.to_canvas.apply(self._source.read(begin, end), 0, first, last, begin=begin)
        self._source.release()
        self._first, self._strip = start, np.concatenate([kept, across.to_canvas.apply(rows, 1)])
        return self._strip


class Blender:
    """Sums of weighted logits of a strip, and probabilities of the canvas that the picture still needs.

    Args:
        grid: axes.
        classes: K.
        state: arrays of `state` of an earlier run, none at the beginning.
        finished: strips that the state includes.
    """

    def __init__(self, grid: Grid, classes: int, state: Sequence[npt.NDArray[np.float32]], finished: int) -> None:
        self._grid = grid
        along, across = grid.along, grid.across
        self._ends = along.from_canvas.samples.max(1)
        self._along, self._across = torch.from_numpy(along.weights)[..., None], torch.from_numpy(across.weights)
        self._strip = torch.zeros(classes, along.tile, across.canvas)
        self._sums = np.zeros(self._strip.shape, np.float32)
        self._tail = np.empty((classes, 0, across.size), np.float32)
        if state:
            open_sums, self._tail = state
            self._sums[:, : open_sums.shape[1]] = open_sums
        self._written = self._complete(finished)

    def _complete(self, finished: int) -> int:
        """Return the number of the picture's rows that the canvas of the first `finished` strips gives."""
        return int(np.searchsorted(self._ends, self._grid.along.finished(finished))) if finished else 0

    def add(self, tile: int, logits: Tensor) -> None:
        """Add logits N K h w of the tiles `tile` to `tile` + N - 1 of the strip that `finish` ends."""
        across, part = self._grid.across, slice(tile, tile + len(logits))
        for start, share, one in zip(across.starts[part], self._across[part], logits, strict=True):
            self._strip[:, :, start : start + across.tile].addcmul_(one, share)  # K h w, and w

    def finish(self, strip: int) -> tuple[int, Floats]:
        """Return the first row and the probabilities K n W of the picture's rows that a strip completes."""
        along, across = self._grid.along, self._grid.across
        start, end = along.starts[strip], along.finished(strip + 1)
        ready = end - start
        torch.from_numpy(self._sums).addcmul_(self._strip, self._along[strip])  # once for all tiles: they lie in a grid
        self._strip.zero_()
        canvas = _probabilities(self._sums[:, :ready])
        self._sums[:, : along.tile - ready] = self._sums[:, ready:]
        self._sums[:, along.tile - ready :] = 0
        self._tail = np.concatenate([self._tail, across.from_canvas.apply(canvas, 2)], axis=1)
        first, last = self._written, self._complete(strip + 1)
        begin = end - self._tail.shape[1]
        block = self._tail[:, :0]
        if last > first:
            block = along.from_canvas.apply(self._tail, 1, first, last, begin=begin)
        self._written = last
        needed = along.from_canvas.span(last, along.size)[0] if last < along.size else end
        self._tail = self._tail[:, max(0, min(needed, end) - begin) :].copy()
        return first, block

    def state(self, strip: int) -> tuple[Floats, Floats]:
        """Return what the next run needs after a strip: sums that are not complete, and the canvas still needed."""
        along = self._grid.along
        return self._sums[:, : along.starts[strip] + along.tile - along.finished(strip + 1)], self._tail


def tile_batches(strip: Floats, grid: Grid, batch_size: int) -> Iterator[tuple[int, Tensor]]:
    """Yield the number of the first tile, and tiles N 1 H W, of the batches of a strip."""
    starts, width, values = grid.across.starts, grid.across.tile, torch.from_numpy(strip)
    for first in range(0, len(starts), batch_size):
        batch = torch.stack([values[:, start : start + width] for start in starts[first : first + batch_size]])[:, None]
        yield first, batch.transpose(-1, -2).contiguous() if grid.transposed else batch


def logits_of(started: Started, grid: Grid, tiles: Tensor, scalar: Tensor | None) -> Tensor:
    """Tiles N 1 H W in 0..1 -> logits N K h w on the CPU, where h lies along the strips' positions.

    Raises:
        ValueError: if the network's maps have another size than its input.
    """
    scalars = None if scalar is None else scalar.expand(len(tiles))
    logits = started.logits(tiles.to(started.device), scalars).cpu()
    if logits.shape[-2:] != tiles.shape[-2:]:
        raise ValueError(
            f"the model must return maps of the size of its input, got {_told(logits)} for {_told(tiles)}: give "
            f"another tile, or a preprocess with a multiple"
        )
    return logits.transpose(-1, -2) if grid.transposed else logits


def _told(maps: Tensor) -> str:
    return f"{maps.shape[-2]} x {maps.shape[-1]}"


def _probabilities(logits: Floats) -> Floats:
    """K n W -> K n W."""
    values = torch.from_numpy(logits)
    return (values.sigmoid() if len(values) == 1 else values.softmax(0)).numpy()
