"""Synthetic tiles beside the labelled ones: a pool on the device, part of which new tiles may replace in each epoch.

A recipe asks for it with a table:

    [synthetic]
    share = 0.25  # fraction of each batch that is synthetic

Recipe and epoch decide which tiles are in the pool, so a resumed run has those of an uninterrupted one.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..data import Tiles, synthetic_tiles
from .recipe_parts import SyntheticPart

SMALLEST = 32
"""Height and width of the smallest tiles that are drawn."""


def check_synthetic(part: SyntheticPart | None, tiles: Tiles) -> None:
    """Raise if synthetic and labelled tiles do not fit together.

    Args:
        part: the recipe's synthetic tiles, if it has some.
        tiles: labelled tiles of all folds.

    Raises:
        ValueError: if labelled tiles are not square, too small, have classes instead of salt alone, or are of the same
            series, so that a tile could both train and validate.
    """
    if part is None:
        return
    height, width = tiles.images.shape[1:]
    if height != width or height < SMALLEST:
        raise ValueError(
            f"tiles must be square, {SMALLEST} x {SMALLEST} pixels or more, for a recipe with [synthetic], got "
            f"{height} x {width}: crop them, or remove the table"
        )
    masks = tiles.require_masks()
    if masks.dtype != np.bool_:
        raise ValueError(
            f"masks must be bool for a recipe with [synthetic], whose tiles know salt alone, got {masks.dtype}: "
            f"remove the table, or learn salt alone"
        )
    series = f"synthetic_{part.seed}_"
    if any(id_.startswith(series) for id_ in tiles.ids):
        raise ValueError(
            f"synthetic.seed must be another than that of the labelled tiles, which are of series {part.seed} too: "
            f"choose another synthetic.seed, so that no validation tile is trained on"
        )


class SyntheticPool:
    """The synthetic tiles of a run: the window of their series that an epoch has.

    Tile i of the series lies at position i % count, so a new tile takes the place of the oldest.

    Args:
        part: the recipe's synthetic tiles.
        images: count H W, uint8, where the pool writes its tiles.
        masks: count H W, bool.

    Example:
        >>> pool = SyntheticPool(
        ...     SyntheticPart(count=3, renewed=1), torch.zeros(3, 40, 40, dtype=torch.uint8), torch.zeros(3, 40, 40) > 0
        ... )
        >>> pool.draw(0), pool.draw(1), pool.draw(1)
        (3, 1, 0)
    """

    def __init__(self, part: SyntheticPart, images: Tensor, masks: Tensor) -> None:
        self._part, self._images, self._masks = part, images, masks
        self._held = range(0)

    def draw(self, epoch: int) -> int:
        """Bring the pool to an epoch, counted from 0, and return how many tiles were drawn for it."""
        part = self._part
        window = range(epoch * part.renewed, epoch * part.renewed + part.count)
        start = self._held.stop if self._held.start <= window.start < self._held.stop else window.start
        new = synthetic_tiles(window.stop - start, seed=part.seed, size=self._images.shape[1], start=start)
        position = torch.arange(start, window.stop, device=self._images.device) % part.count
        self._images[position] = torch.from_numpy(new.images).to(self._images.device)
        self._masks[position] = torch.from_numpy(new.require_masks()).to(self._masks.device)
        self._held = window
        return len(new)
