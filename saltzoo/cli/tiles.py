"""Masks of the competition's tiles, for validation and submissions."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..contracts import SegmentationModel
from ..data import Tiles
from ..inference import clean, predict
from .progress import bar

_CHUNK = 512
"""Tiles between two steps of the progress bar."""


class TileMasks:
    """A model with the threshold and the smallest body that make masks of its probabilities.

    Args:
        model: model of one class.
        tta: test-time augmentation.
        threshold: probability above which a pixel is salt.
        min_size: pixels of the smallest body that is kept.
        batch_size: tiles in a batch.
    """

    def __init__(
        self,
        model: SegmentationModel,
        *,
        threshold: float,
        min_size: int,
        tta: str | None = None,
        batch_size: int = 16,
    ) -> None:
        self.model = model
        self.tta = tta
        self.threshold: float = threshold
        self.min_size: int = min_size
        self.batch_size = batch_size

    def of(self, tiles: Tiles, *, quiet: bool = False) -> npt.NDArray[np.bool_]:
        """Return the masks of tiles, N H W, with a progress bar on a terminal unless `quiet`.

        Raises:
            ValueError: if the model reads depths that are missing.
        """
        masks = np.zeros(tiles.images.shape, np.bool_)
        for first in bar(range(0, len(tiles), _CHUNK), unit=f"{_CHUNK} tiles", quiet=quiet):
            part = slice(first, first + _CHUNK)
            depths = None if tiles.depths is None or not self.model.preprocess.scalar else tiles.depths[part]
            probabilities = predict(
                self.model, tiles.images[part], scalars=depths, tta=self.tta, batch_size=self.batch_size
            )
            masks[part] = clean(probabilities > self.threshold, min_size=self.min_size)
        return masks
