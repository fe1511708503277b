"""Masks that are carried from a tile to its neighbours in a mosaic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from .._checks import check_choice, check_counts
from .mosaic import Mosaics

Side = Literal["below", "above", "right", "left"]

_STEPS: dict[Side, tuple[int, int]] = {"below": (1, 0), "above": (-1, 0), "right": (0, 1), "left": (0, -1)}


def carry_masks(
    mosaics: Mosaics,
    masks: npt.NDArray[np.bool_],
    known: npt.NDArray[np.bool_],
    *,
    sides: Sequence[Side] = ("below",),
    reach: int = 1,
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Return masks in which stripes of known tiles are continued into unknown neighbours, and which tiles got one.

    The interpreters of the TGS challenge continued some bodies of salt straight down, so that all rows of a mask are
    equal. Such a mask continues below: the neighbour there gets it in place of its prediction. A mask continues above
    by the same rule, and to the right and left if all its columns are equal. Masks without salt, or of salt alone,
    continue to no side.

    Args:
        mosaics: positions of N tiles.
        masks: N H W, bool: true masks of known tiles, predictions of the others.
        known: N booleans, True for tiles with a true mask. Their masks are not changed.
        sides: sides on which masks continue, the first one first where two reach one tile.
        reach: number of tiles in a row that a mask is carried over, as far as they are unknown.

    Returns:
        Masks, N H W bool, in new memory, and N booleans, True for tiles whose mask was carried.

    Raises:
        TypeError: if `masks` or `known` is not boolean.
        ValueError: if a shape does not fit the mosaics, a side is unknown, or `reach` is below 1.

    Example:
        >>> from saltzoo.data import NeighbourPairs, assemble
        >>> pairs = (np.array([0]), np.array([1]), np.array([True]), np.float32([0]), np.float32([2]))
        >>> mosaics = assemble(NeighbourPairs(("upper", "lower"), *pairs))
        >>> masks = np.array([[[False, True], [False, True]], [[False, False], [False, False]]])
        >>> carry_masks(mosaics, masks, np.array([True, False]))[0][1].astype(int)
        array([[0, 1],
               [0, 1]])
    """
    _check(mosaics, masks, known)
    check_counts(reach=reach)
    for side in sides:
        check_choice("side", side, _STEPS)
    places = zip(mosaics.number.tolist(), mosaics.row.tolist(), mosaics.column.tolist(), strict=True)
    tile_at = {place: tile for tile, place in enumerate(places)}
    result, carried = masks.copy(), np.zeros(len(masks), np.bool_)
    partial = masks.any(axis=(1, 2)) & ~masks.all(axis=(1, 2)) & known
    for side in sides:
        down, across = _STEPS[side]
        straight = (masks == (masks[:, :1] if down else masks[:, :, :1])).all(axis=(1, 2))
        for source in np.flatnonzero(partial & straight).tolist():
            number, row, column = (int(values[source]) for values in (mosaics.number, mosaics.row, mosaics.column))
            for step in range(1, reach + 1):
                tile = tile_at.get((number, row + step * down, column + step * across))
                if tile is None or known[tile]:
                    break
                if not carried[tile]:
                    result[tile], carried[tile] = masks[source], True
    return result, carried


def _check(mosaics: Mosaics, masks: npt.NDArray[np.bool_], known: npt.NDArray[np.bool_]) -> None:
    count = len(mosaics.ids)
    for name, array in (("masks", masks), ("known", known)):
        if array.dtype != np.bool_:
            raise TypeError(f"{name} must be bool, got {array.dtype}: compare with a threshold")
    if masks.ndim != 3 or len(masks) != count:
        raise ValueError(f"masks must have shape ({count}, H, W), got {masks.shape}: give one mask of each tile")
    if known.shape != (count,):
        raise ValueError(f"known must have shape ({count},), got {known.shape}: give one boolean for each tile")
