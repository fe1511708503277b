"""Tiles: the type that every reader and generator of this package returns and that training takes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, eq=False)
class Tiles:
    """Gray tiles of one size, with masks if they are labelled.

    Attributes:
        ids: N unique names.
        images: N H W, uint8.
        masks: N H W, bool, True for salt; None for unlabelled tiles.
        depths: N, float32, depth below the surface in feet, NaN if unknown; None if no depth is known.
    """

    ids: tuple[str, ...]
    images: npt.NDArray[np.uint8]
    masks: npt.NDArray[np.bool_] | None = None
    depths: npt.NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        count = len(self.ids)
        if self.images.ndim != 3 or self.images.dtype != np.uint8:
            raise ValueError(f"images must be N H W uint8, got {self.images.shape} {self.images.dtype}")
        if len(self.images) != count:
            raise ValueError(f"ids and images must have one length, got {count} ids and {len(self.images)} images")
        if self.masks is not None and (self.masks.shape != self.images.shape or self.masks.dtype != np.bool_):
            raise ValueError(
                f"masks must be bool of the images' shape {self.images.shape}, "
                f"got {self.masks.shape} {self.masks.dtype}"
            )
        if self.depths is not None and self.depths.shape != (count,):
            raise ValueError(f"depths must have shape ({count},), got {self.depths.shape}")

    def __len__(self) -> int:
        return len(self.ids)

    def require_masks(self) -> npt.NDArray[np.bool_]:
        """Return the masks, N H W.

        Raises:
            ValueError: if the tiles are unlabelled.
        """
        if self.masks is None:
            raise ValueError("these tiles have no masks: read a labelled split")
        return self.masks

    @property
    def coverage(self) -> npt.NDArray[np.float64]:
        """Fraction of salt in each tile, N values in 0..1. The tiles must have masks."""
        return self.require_masks().mean(axis=(1, 2))

    @property
    def fingerprint(self) -> str:
        """Number of tiles and a digest of their ids, the same in any order.

        Example:
            >>> Tiles(("b", "a"), np.zeros((2, 1, 1), np.uint8)).fingerprint
            '2 tiles, ids 7e18f737'
        """
        digest = hashlib.sha256("\n".join(sorted(self.ids)).encode()).hexdigest()
        return f"{len(self)} tiles, ids {digest[:8]}"

    def select(self, index: Sequence[int] | npt.NDArray[np.integer | np.bool_]) -> Tiles:
        """Return the tiles at `index`, positions or N booleans, in its order."""
        positions = np.arange(len(self))[np.asarray(index)]
        return replace(
            self,
            ids=tuple(self.ids[i] for i in positions),
            images=self.images[positions],
            masks=None if self.masks is None else self.masks[positions],
            depths=None if self.depths is None else self.depths[positions],
        )
