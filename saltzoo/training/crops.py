"""Random crops of labelled pictures of any sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..data import Tiles

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Crops:
    """Crops at random places of pictures: half of them anywhere, half over a pixel of salt.

    Attributes:
        pictures: pairs of a picture and its labels, H W each, at least as large as a crop.
        size: height and width of a crop.
    """

    pictures: Sequence[tuple[Bytes, Bytes]]
    size: tuple[int, int]

    def draw(self, count: int, rng: np.random.Generator) -> Tiles:
        """Return `count` crops as tiles with labels."""
        salt = [np.flatnonzero(labels == 1) for _, labels in self.pictures]
        images, masks = np.empty((2, count, *self.size), np.uint8)
        corners = [np.array(labels.shape) - np.array(self.size) + 1 for _, labels in self.pictures]
        anywhere = np.array([corner.prod() for corner in corners], np.float64)
        with_salt = np.array([len(pixels) for pixels in salt], np.float64)
        for number in range(count):
            over_salt = number % 2 and with_salt.any()
            weights = with_salt if over_salt else anywhere
            line = int(rng.choice(len(weights), p=weights / weights.sum()))
            picture, labels = self.pictures[line]
            if over_salt:
                pixel = np.array(divmod(int(rng.choice(salt[line])), labels.shape[1]))
                corner = np.clip(pixel - rng.integers(self.size), 0, corners[line] - 1)
            else:
                corner = rng.integers(corners[line])
            part = tuple(slice(first, first + side) for first, side in zip(corner.tolist(), self.size, strict=True))
            images[number], masks[number] = picture[part], labels[part]
        return Tiles(tuple(f"crop{number}" for number in range(count)), images, masks)
