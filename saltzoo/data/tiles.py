"""Tiles: the type that every reader and generator of this package returns and that training takes."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

Masks = npt.NDArray[np.bool_ | np.uint8]

_DEEPEST = 1e8
"""Feet that no depth exceeds, more than the earth's diameter."""


@dataclass(frozen=True, eq=False)
class Tiles:
    """Gray tiles of one size, with masks if they are labelled.

    Attributes:
        ids: N unique names.
        images: N H W, uint8.
        masks: N H W, bool, True for salt; or uint8, the class of each pixel, 0 for background, where a value that is no
            class, such as 255, may mark unknown pixels; None for unlabelled tiles.
        depths: N, float32, depth below the surface in feet, NaN if unknown; None if no depth is known.

    Raises:
        TypeError: if `ids` is not a sequence of strings, or another field not an array.
        ValueError: if an id occurs twice, the lengths differ, or a shape, dtype or value is another.
    """

    ids: tuple[str, ...]
    images: npt.NDArray[np.uint8]
    masks: Masks | None = None
    depths: npt.NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        _check_ids(self.ids)
        for name, array in {"images": self.images, "masks": self.masks, "depths": self.depths}.items():
            if not isinstance(array, np.ndarray) and (array is not None or name == "images"):
                raise TypeError(f"{name} must be a numpy array, got a {type(array).__name__}: use np.asarray")
        count = len(self.ids)
        if self.images.ndim != 3 or self.images.dtype != np.uint8 or 0 in self.images.shape[1:]:
            raise ValueError(
                f"images must be N H W uint8, H and W above 0, got {self.images.shape} {self.images.dtype}"
            )
        if len(self.images) != count:
            raise ValueError(f"ids and images must have one length, got {count} ids and {len(self.images)} images")
        if self.masks is not None and (
            self.masks.shape != self.images.shape or self.masks.dtype not in (np.bool_, np.uint8)
        ):
            raise ValueError(
                f"masks must be bool of the images' shape {self.images.shape}, or uint8 with the class of each pixel, "
                f"got {self.masks.shape} {self.masks.dtype}: use masks > 0 for salt, or labels.astype(np.uint8)"
            )
        if self.depths is not None and self.depths.shape != (count,):
            raise ValueError(f"depths must have shape ({count},), got {self.depths.shape}")
        if self.depths is not None and self.depths.dtype.kind != "f":
            raise ValueError(f"depths must be floating point, got {self.depths.dtype}: use depths.astype(np.float32)")
        if self.depths is not None and len(beyond := np.flatnonzero(np.abs(self.depths) > _DEEPEST)):
            raise ValueError(
                f"depths must be feet below the surface, at most {_DEEPEST:g}, got {self.depths[beyond[0]]:g} for tile "
                f"{self.ids[beyond[0]]!r}: give NaN where a depth is unknown"
            )

    def __len__(self) -> int:
        return len(self.ids)

    def require_masks(self) -> Masks:
        """Return the masks, N H W, bool or uint8.

        Raises:
            ValueError: if the tiles are unlabelled.
        """
        if self.masks is None:
            raise ValueError("these tiles have no masks: read a labelled split")
        return self.masks

    @property
    def coverage(self) -> npt.NDArray[np.float64]:
        """Fraction of each tile that is not 0, which is salt or any class, N values in 0..1. It needs masks."""
        return (self.require_masks() != 0).mean(axis=(1, 2))

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
        """Return the tiles at `index`, distinct positions or N booleans, in its order.

        Raises:
            IndexError: if a position is beyond the tiles, or the number of booleans is not N.
            ValueError: if a position occurs twice, so that ids would.
        """
        chosen = np.asarray(index)
        positions = np.arange(len(self))[chosen if chosen.size else chosen.astype(np.int64).reshape(-1)]
        return replace(
            self,
            ids=tuple(self.ids[i] for i in positions),
            images=self.images[positions],
            masks=None if self.masks is None else self.masks[positions],
            depths=None if self.depths is None else self.depths[positions],
        )


def _check_ids(ids: Sequence[str]) -> None:
    if isinstance(ids, str) or not isinstance(ids, Sequence) or not all(isinstance(id_, str) for id_ in ids):
        raise TypeError(f"ids must be a tuple of strings, got {ids!r:.80}: give a name to each tile")
    if len(set(ids)) < len(ids):
        twice = next(id_ for id_, count in Counter(ids).items() if count > 1)
        raise ValueError(
            f"ids must be unique, because folds and runs tell tiles apart by them, got {twice!r} twice: rename one "
            "tile, or select each position once"
        )
