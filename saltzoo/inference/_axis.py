"""One axis of a tiled picture: where tiles begin, how samples are resampled, and how tiles are blended.

Three grids lie along an axis: the picture's samples, the same length at the scale of training, and the canvas that
tiles cover. Canvas and scaled picture differ only where the picture is smaller than a tile and is reflected.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

Blend = Literal["gaussian", "crop", "uniform"]
BLENDS = ("gaussian", "crop", "uniform")
Floats = npt.NDArray[np.float32]

DEVIATION = 1 / 6
"""Standard deviation of the Gaussian weights, as a fraction of the tile.

A narrow one makes a steep change from tile to tile in the middle of the overlap, a wide one a jump where a tile ends.
"""


class Taps(NamedTuple):
    """A linear map along an axis: result i is the sum over k of weights[i, k] times the sample numbered samples[i, k].

    Attributes:
        samples: n taps.
        weights: n taps.
    """

    samples: npt.NDArray[np.intp]
    weights: Floats

    def span(self, first: int, last: int) -> tuple[int, int]:
        """Return the range of samples that results `first` to `last` - 1 are made of."""
        index = self.samples[first:last]
        return int(index.min()), int(index.max()) + 1

    def apply(self, values: Floats, axis: int, first: int = 0, last: int | None = None, *, begin: int = 0) -> Floats:
        """Return results `first` to `last` - 1 from `values`, whose first sample along `axis` is number `begin`."""
        index, weight = self.samples[first:last] - begin, self.weights[first:last]
        if index.shape[1] == 1:
            start, stop = int(index[0, 0]), int(index[-1, 0]) + 1
            if stop - start == len(index):  # steps are 1 or, where a picture is reflected, -1: here all are 1
                return values[(*[slice(None)] * axis, slice(start, stop))]
            return values.take(index[:, 0], axis)
        shape = [1] * values.ndim
        shape[axis] = -1
        total = values.take(index[:, 0], axis) * weight[:, 0].reshape(shape)
        for k in range(1, index.shape[1]):
            total += values.take(index[:, k], axis) * weight[:, k].reshape(shape)
        return total


@dataclass(frozen=True)
class Axis:
    """An axis of a tiled picture.

    Attributes:
        size: samples of the picture.
        tile: samples of a tile.
        starts: first canvas sample of each tile, ascending.
        weights: share of each tile in the samples that it covers, len(starts) tile; over tiles they sum to one.
        to_canvas: the picture's samples -> the canvas.
        from_canvas: the canvas -> the picture's samples.
    """

    size: int
    tile: int
    starts: tuple[int, ...]
    weights: Floats
    to_canvas: Taps
    from_canvas: Taps

    @classmethod
    def of(cls, size: int, *, tile: int, stride: int, blend: Blend, scale: float) -> Axis:
        """Return the axis of `size` samples; checked arguments of `predict_tiled`."""
        scaled = max(1, round(size * scale))
        index, weight = resampling(size, scaled)
        before = max(0, tile - scaled) // 2
        if scaled < tile:
            padded = np.pad(np.arange(scaled), (before, tile - scaled - before), mode="reflect")
            index, weight = index[padded], weight[padded]
        back = resampling(scaled, size)
        starts = tile_starts(max(scaled, tile), tile, stride)
        return cls(
            size,
            tile,
            starts,
            tile_weights(starts, tile, blend),
            Taps(index, weight),
            Taps(back.samples + before, back.weights),
        )

    @property
    def canvas(self) -> int:
        """Samples of the canvas."""
        return self.starts[-1] + self.tile

    def finished(self, number: int) -> int:
        """Return the number of canvas samples that no tile after the first `number` covers."""
        return self.canvas if number == len(self.starts) else self.starts[number]


def stride_of(tile: int, overlap: float, margin: int | None) -> int:
    """Return the samples from the start of a tile to that of the next.

    Example:
        >>> stride_of(101, 0.5, None), stride_of(101, 0.5, 8)
        (50, 85)
    """
    return max(1, int(tile * (1 - overlap))) if margin is None else tile - 2 * margin


def resampling(old: int, new: int) -> Taps:
    """Return linear resampling from `old` to `new` samples, with antialiasing where it shrinks.

    The ends of both lengths coincide, as with align_corners=False; beyond the ends there are no samples.
    """
    if old == new:
        return Taps(np.arange(old)[:, None], np.ones((old, 1), np.float32))
    step = old / new
    reach = max(1.0, step)  # half of the triangle's width
    centre = (np.arange(new) + 0.5) * step - 0.5
    first = np.ceil(centre - reach).astype(np.intp)
    index = first[:, None] + np.arange(int(2 * reach) + 1)
    weight: npt.NDArray[Any] = np.maximum(0, 1 - np.abs(index - centre[:, None]) / reach)
    weight[(index < 0) | (index >= old)] = 0
    return Taps(index.clip(0, old - 1), (weight / weight.sum(1, keepdims=True)).astype(np.float32))


def tile_starts(canvas: int, tile: int, stride: int) -> tuple[int, ...]:
    """Return the first sample of each tile; the last tile is moved inward to end with the canvas.

    Example:
        >>> tile_starts(250, 101, 50)
        (0, 50, 100, 149)
    """
    return (*range(0, canvas - tile, stride), canvas - tile)


def tile_weights(starts: tuple[int, ...], tile: int, blend: Blend) -> Floats:
    """Return the share of each tile in the samples that it covers, len(starts) tile.

    A tile's weight is the product of its shares along both axes: as tiles lie in a grid, these products sum to one.
    """
    if blend == "crop":
        weights = _centres(starts, tile)
    else:
        offset = np.arange(tile) - (tile - 1) / 2
        window = np.exp(-0.5 * (offset / (tile * DEVIATION)) ** 2) if blend == "gaussian" else np.ones(tile)
        weights = np.tile(window, (len(starts), 1))
    total = np.zeros(starts[-1] + tile)
    for start, weight in zip(starts, weights, strict=True):
        total[start : start + tile] += weight
    shares = [weight / total[start : start + tile] for start, weight in zip(starts, weights, strict=True)]
    return np.stack(shares).astype(np.float32)


def _centres(starts: tuple[int, ...], tile: int) -> npt.NDArray[np.float64]:
    """Return 1 where a tile's part of the canvas is, 0 elsewhere: overlaps are cut in the middle."""
    cuts = [(left + tile + right) // 2 for left, right in pairwise(starts)]
    weights = np.zeros((len(starts), tile))
    edges = zip(starts, [0, *cuts], [*cuts, starts[-1] + tile], strict=True)
    for weight, (start, first, last) in zip(weights, edges, strict=True):
        weight[first - start : last - start] = 1
    return weights
