"""Mosaics: tiles put back beside their neighbours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from .neighbours import NeighbourPairs

Pixel = TypeVar("Pixel", bound=np.generic)
Place = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Mosaics:
    """Positions of N tiles in M mosaics. A tile without neighbours is a mosaic of its own.

    Attributes:
        ids: N names.
        number: N numbers of mosaics, 0 to M - 1, by descending number of tiles.
        row: N rows, counted in tiles from 0 at the top of each mosaic.
        column: N columns, counted in tiles from 0 at the left of each mosaic.
        sizes: M numbers of tiles.
        contradicted: P booleans: True for the pairs that disagree with those of higher confidence.
    """

    ids: tuple[str, ...]
    number: npt.NDArray[np.int64]
    row: npt.NDArray[np.int64]
    column: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]
    contradicted: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.sizes)


def assemble(pairs: NeighbourPairs) -> Mosaics:
    """Return the mosaics that the pairs put together, the most confident pair first.

    A pair joins two mosaics, confirms positions that are fixed already, or contradicts them: it would move a tile, or
    put two tiles in one place. A pair that contradicts is left out and marked.

    Example:
        >>> from saltzoo.data import Tiles, find_neighbours, synthetic_tile
        >>> section = synthetic_tile(0, size=150)[0]
        >>> tiles = Tiles(("left", "right"), np.stack([section[:, :75], section[:, 75:]]))
        >>> mosaics = assemble(find_neighbours(tiles, method="distance", limit=0.5))
        >>> mosaics.sizes.tolist(), mosaics.row.tolist(), mosaics.column.tolist()
        ([2], [0, 0], [0, 1])
    """
    root = list(range(len(pairs.ids)))  # name of each tile's mosaic while they grow
    place: list[Place] = [(0, 0)] * len(root)
    tile_at: dict[int, dict[Place, int]] = {tile: {(0, 0): tile} for tile in root}
    contradicted = np.zeros(len(pairs), np.bool_)
    for k in np.argsort(-pairs.confidence, kind="stable"):
        a, b, below = int(pairs.first[k]), int(pairs.second[k]), bool(pairs.below[k])
        wanted = (place[a][0] + below, place[a][1] + (not below))  # place of b beside a
        shift = (wanted[0] - place[b][0], wanted[1] - place[b][1])
        if root[a] == root[b]:
            contradicted[k] = shift != (0, 0)
            continue
        kept, moved = root[a], root[b]
        if len(tile_at[kept]) < len(tile_at[moved]):
            kept, moved, shift = moved, kept, (-shift[0], -shift[1])
        places = {(r + shift[0], c + shift[1]): tile for (r, c), tile in tile_at[moved].items()}
        if places.keys() & tile_at[kept].keys():
            contradicted[k] = True
            continue
        tile_at[kept].update(places)
        del tile_at[moved]
        for where, tile in places.items():
            root[tile], place[tile] = kept, where
    return _numbered(pairs.ids, [*tile_at.values()], contradicted)


def _numbered(ids: tuple[str, ...], found: list[dict[Place, int]], contradicted: npt.NDArray[np.bool_]) -> Mosaics:
    """Number mosaics by size, and by the smallest id among equals; move their upper left corners to (0, 0)."""
    found = sorted(found, key=lambda tile_at: (-len(tile_at), min(ids[tile] for tile in tile_at.values())))
    number, row, column = (np.empty(len(ids), np.int64) for _ in range(3))
    for index, tile_at in enumerate(found):
        tiles = list(tile_at.values())
        corners = np.array(list(tile_at))  # T 2
        number[tiles] = index
        row[tiles], column[tiles] = (corners - corners.min(axis=0)).T
    return Mosaics(ids, number, row, column, np.array([len(part) for part in found], np.int64), contradicted)


def groups_of(pairs: NeighbourPairs) -> npt.NDArray[np.int64]:
    """Return a number for each of N tiles, the same for tiles that pairs connect, contradicted ones included."""
    parent = list(range(len(pairs.ids)))

    def root(tile: int) -> int:
        while parent[tile] != tile:
            parent[tile] = parent[parent[tile]]
            tile = parent[tile]
        return tile

    for a, b in zip(pairs.first.tolist(), pairs.second.tolist(), strict=True):
        parent[root(a)] = root(b)
    return np.array([root(tile) for tile in range(len(parent))], dtype=np.int64)


def mosaic_picture(
    mosaics: Mosaics, images: npt.NDArray[Pixel], *, number: int = 0, fill: float = 0
) -> npt.NDArray[Pixel]:
    """Return the picture of one mosaic.

    Args:
        mosaics: positions of N tiles.
        images: N H W, images, masks or probabilities of these tiles, in the order of `mosaics.ids`.
        number: number of the mosaic; 0 is the one of most tiles.
        fill: value of places without a tile.

    Returns:
        Array of R H by C W pixels for a mosaic of R by C places, of the dtype of `images`.

    Raises:
        ValueError: if the shape of `images` or `number` does not fit the mosaics.

    Example:
        >>> pairs = (np.array([0]), np.array([1]), np.array([True]), np.float32([0]), np.float32([2]))
        >>> mosaics = assemble(NeighbourPairs(("upper", "lower"), *pairs))
        >>> mosaic_picture(mosaics, np.array([[[1, 2]], [[3, 4]]]))
        array([[1, 2],
               [3, 4]])
    """
    if images.ndim != 3 or len(images) != len(mosaics.ids):
        raise ValueError(
            f"images must have shape (N, H, W) with one of each of {len(mosaics.ids)} tiles, got {images.shape}: give "
            "the tiles that were searched, in their order"
        )
    if number not in range(len(mosaics)):
        last = f"0 to {len(mosaics) - 1}" if len(mosaics) else "that of a mosaic, and there is none"
        raise ValueError(f"number must be {last}, got {number}: mosaics.sizes has one size a mosaic")
    tiles = np.flatnonzero(mosaics.number == number)
    rows, columns = mosaics.row[tiles], mosaics.column[tiles]
    height, width = images.shape[1:]
    places = np.full((rows.max() + 1, columns.max() + 1, height, width), fill, images.dtype)
    places[rows, columns] = images[tiles]
    return places.transpose(0, 2, 1, 3).reshape(places.shape[0] * height, places.shape[1] * width)
