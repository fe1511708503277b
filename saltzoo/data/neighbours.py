"""Search for tiles that lie beside each other in the section that they were cut from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from .._checks import check_choice
from .tiles import Tiles

Floats = npt.NDArray[np.float32]
Method = Literal["ratio", "distance", "mutual"]

LIMITS: dict[Method, float] = {"ratio": 1.4, "distance": 0.3, "mutual": 1.25}
"""Default limit of each method: about one pair of a hundred is wrong on the tiles of the TGS challenge."""

_CHUNK = 512
"""Rows of the matrix of similarities that exist at once."""

_NEAREST = 1e-3
"""Least distance that a ratio is taken of: single precision resolves no smaller one."""


@dataclass(frozen=True, eq=False)
class NeighbourPairs:
    """Pairs of tiles that seem to touch, P of them, the most certain first.

    Attributes:
        ids: N names of all tiles that were searched.
        first: P positions in `ids`: the left or upper tile.
        second: P positions in `ids`: the right or lower tile.
        below: P booleans: True where the second tile lies below the first, False where it lies to the right.
        distance: P distances of the edges that meet, root mean square of the differences, in standard deviations.
        confidence: P ratios of the distance of the second best candidate to that of the best, 1 or more.
    """

    ids: tuple[str, ...]
    first: npt.NDArray[np.int64]
    second: npt.NDArray[np.int64]
    below: npt.NDArray[np.bool_]
    distance: Floats
    confidence: Floats

    def __len__(self) -> int:
        return len(self.first)

    def select(self, index: npt.NDArray[np.bool_ | np.integer]) -> NeighbourPairs:
        """Return the pairs at `index`, positions or P booleans: `pairs.select(pairs.confidence > 2)`."""
        chosen = (self.first, self.second, self.below, self.distance, self.confidence)
        return NeighbourPairs(self.ids, *(values[index] for values in chosen))


def find_neighbours(tiles: Tiles, *, method: Method = "mutual", limit: float | None = None) -> NeighbourPairs:
    """Return the pairs of tiles whose edges continue each other, with the tiles of one size.

    The outermost row or column of a tile, x0, and the next one, x1, predict the row or column that follows: 2 x0 - x1.
    It is compared with the facing edge of every other tile, and that tile's own prediction with x0. All edges are
    z-scored first, so tiles may have been stretched to different contrasts. The distance of two tiles is the root mean
    square of both differences. Edges of one gray level, such as those of black tiles, match nothing, and neither does
    an edge with two equally good candidates, such as a tile that occurs twice.

    The search is exact: no candidate is left out. Its time grows with the square of the number of tiles; its memory
    is 512 rows of the matrix of distances.

    Args:
        tiles: N tiles of 2 x 2 pixels or more. Labelled and unlabelled tiles of one survey belong together:
            `Tiles(a.ids + b.ids, np.concatenate([a.images, b.images]))`.
        method: which of the nearest candidates are pairs. "ratio": those `limit` times nearer than the second best,
            seen from one of the two tiles; the confidence is that ratio. "distance": those within `limit`, seen from
            one of the two tiles. "mutual": those that are each other's nearest, and `limit` times nearer than the
            second best, seen from both. The methods "ratio" and "distance" may give a side several neighbours, which
            `assemble` decides between.
        limit: ratio, 1 or more, or distance above 0. None: 1.4 for "ratio", 0.3 for "distance", 1.25 for "mutual".

    Returns:
        Pairs, the most confident first. The confidence is the larger ratio of the two tiles for "ratio" and
        "distance", the smaller one for "mutual". The order of the tiles has no influence but for rounding.

    Raises:
        ValueError: if `method` is unknown, `limit` out of its range, or a tile is smaller than 2 x 2.

    Example:
        >>> from saltzoo.data import synthetic_tile
        >>> section = synthetic_tile(0, size=150)[0]
        >>> tiles = Tiles(("left", "right"), np.stack([section[:, :75], section[:, 75:]]))
        >>> pairs = find_neighbours(tiles, method="distance", limit=0.5)
        >>> [(pairs.ids[a], pairs.ids[b]) for a, b in zip(pairs.first, pairs.second)]
        [('left', 'right')]
    """
    check_choice("method", method, LIMITS)
    limit = LIMITS[method] if limit is None else limit
    if not (limit > 0 if method == "distance" else limit >= 1):
        least = "above 0" if method == "distance" else "1 or more"
        raise ValueError(
            f"limit must be {least} for the method {method!r}, got {limit}: the default is {LIMITS[method]}"
        )
    if min(tiles.images.shape[1:]) < 2:
        raise ValueError(f"tiles must be at least 2 x 2 pixels, got {tiles.images.shape[1:]}: give larger tiles")
    found = [_pairs_of(tiles.images, method, limit, below=below) for below in (False, True)]
    first, second, distance, confidence = (np.concatenate(parts) for parts in zip(*found, strict=True))
    below = np.repeat([False, True], [len(part[0]) for part in found])
    names = np.array(tiles.ids, dtype=object)
    order = sorted(  # by id among equals, so that the order of the tiles has no influence
        range(len(first)), key=lambda k: (-confidence[k], distance[k], names[first[k]], names[second[k]], below[k])
    )
    return NeighbourPairs(tiles.ids, first, second, below, distance, confidence).select(np.array(order, dtype=np.int64))


def _pairs_of(
    images: npt.NDArray[np.uint8], method: Method, limit: float, *, below: bool
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Floats, Floats]:
    """Return first, second, distance and confidence of the pairs of one direction."""
    ends, starts = edge_features(images, below=below)
    rows, columns = nearest_two(ends, starts)
    count = len(images)
    # One line a pair: (first, second), seen from the first or from the second tile.
    first = np.concatenate([np.arange(count), columns.index])
    second = np.concatenate([rows.index, np.arange(count)])
    distance = np.concatenate([rows.distance, columns.distance])
    ratio = np.concatenate([rows.ratio, columns.ratio])
    unique = ratio > 1  # neither a tie nor an edge without candidates
    chosen = unique & (distance <= limit if method == "distance" else ratio >= limit)
    key = first * count + second
    shared, position, seen = np.unique(key[chosen], return_index=True, return_counts=True)
    lines = np.flatnonzero(chosen)[position]
    best = np.zeros(len(shared), np.float32)
    worst = np.full(len(shared), np.inf, np.float32)
    index = np.searchsorted(shared, key[chosen])
    np.maximum.at(best, index, ratio[chosen])
    np.minimum.at(worst, index, ratio[chosen])
    if method == "mutual":
        lines, best = lines[seen == 2], worst[seen == 2]
    return first[lines], second[lines], distance[lines], best


def edge_features(images: npt.NDArray[np.uint8], *, below: bool) -> tuple[Floats, Floats]:
    """Return the features of the right and left edges, or of the lower and upper ones if `below`.

    The squared distance of two tiles is 2 - 2 a @ b with a feature of either. Edges of one gray level are 0.

    Returns:
        Two arrays, N 2L, where L is the length of an edge.
    """
    lines = images if below else images.transpose(0, 2, 1)  # N, lines across the edge, L
    end, end1, start, start1 = (lines[:, k].astype(np.float32) for k in (-1, -2, 0, 1))
    predicted_start, predicted_end = 2 * end - end1, 2 * start - start1
    usable_end, usable_start = np.ptp(end, axis=1) > 0, np.ptp(start, axis=1) > 0
    a = np.concatenate([_zscore(predicted_start), _zscore(end)], axis=1) * usable_end[:, None]
    b = np.concatenate([_zscore(start), _zscore(predicted_end)], axis=1) * usable_start[:, None]
    scale = np.float32(np.sqrt(a.shape[1]))
    return a / scale, b / scale


def _zscore(edges: Floats) -> Floats:
    """Return edges, N L, of mean 0 and standard deviation 1; an edge of one level gives 0."""
    centred = edges - edges.mean(axis=1, keepdims=True)
    deviation = np.sqrt(np.square(centred).mean(axis=1, keepdims=True))
    return centred / np.maximum(deviation, np.float32(1e-6))


@dataclass(frozen=True, eq=False)
class Nearest:
    """Nearest candidate of each of N tiles on one side: position, distance, and ratio of the second distance to it."""

    index: npt.NDArray[np.int64]
    distance: Floats
    ratio: Floats

    @classmethod
    def of(cls, index: npt.NDArray[np.int64], best: Floats, second: Floats) -> Nearest:
        """Convert the two largest similarities; a ratio of 0 marks a tile without candidates.

        A single candidate is compared with an edge that has nothing in common with the tile's, of similarity 0.
        """
        none = np.isneginf(best)
        second = np.where(np.isneginf(second), np.float32(0), second)
        distance, other = (np.sqrt(np.maximum(2 - 2 * np.maximum(x, -1), _NEAREST**2)) for x in (best, second))
        return cls(index, distance, np.where(none, np.float32(0), other / distance))


def nearest_two(a: Floats, b: Floats) -> tuple[Nearest, Nearest]:
    """Return the nearest rows of `b` for each row of `a`, and of `a` for each of `b`; no row is its own neighbour.

    One product of matrices serves both directions. Rows of zeros are no candidates, and have none.

    Args:
        a: features, N F.
        b: features, N F.
    """
    count = len(a)
    void_a, void_b = (a == 0).all(axis=1), (b == 0).all(axis=1)
    index = np.zeros((2, count), np.int64)
    best, second = (np.full((2, count), -np.inf, np.float32) for _ in range(2))
    smaller = np.empty(count, np.float32)
    for start in range(0, count, _CHUNK):
        rows = np.arange(start, min(start + _CHUNK, count))
        similarity = a[rows] @ b.T  # R N
        similarity[:, void_b] = -np.inf
        similarity[void_a[rows]] = -np.inf
        similarity[rows - start, rows] = -np.inf
        before = best[1].copy()
        for row in similarity:  # running two largest of each column
            np.minimum(best[1], row, out=smaller)
            np.maximum(second[1], smaller, out=second[1])
            np.maximum(best[1], row, out=best[1])
        better = np.flatnonzero(best[1] > before)
        index[1, better] = start + similarity[:, better].argmax(axis=0)
        index[0, rows] = nearest = similarity.argmax(axis=1)
        best[0, rows] = similarity[rows - start, nearest]
        similarity[rows - start, nearest] = -np.inf
        second[0, rows] = similarity.max(axis=1)
    return Nearest.of(index[0], best[0], second[0]), Nearest.of(index[1], best[1], second[1])
