"""Lazy: an array whose values are computed from those of others when a part is read."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from .._files import release

_STRIP = 2**20
"""Samples of a strip, about. It is the same for all pictures, so that equal pictures give equal files."""


class Sliced(Protocol):
    """What slices like an array: numpy, a memory map, a Lazy."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Height, width, and channels if there are any."""

    @property
    def dtype(self) -> Any:
        """Type of the values, a dtype of numpy."""

    def __getitem__(self, part: Any, /) -> Any:
        """Return a slice of rows, or of rows and columns."""


class Lazy:
    """An array H W, or H W C, that is computed pixel by pixel from arrays H W when a part is read.

    Large memory-mapped files are so converted, compared and drawn with the memory of a strip.

    Args:
        function: parts h w of the arrays -> values h w, or h w C.
        arrays: arrays H W of one shape.
        dtype: of the values.
        channels: C, or none.

    Example:
        >>> light = Lazy(lambda part: part > 2, np.arange(6).reshape(2, 3), dtype=np.bool_)
        >>> light.shape, light[1:].tolist()
        ((2, 3), [[True, True, True]])
    """

    def __init__(
        self,
        function: Callable[..., npt.NDArray[Any]],
        *arrays: Sliced,
        dtype: npt.DTypeLike,
        channels: tuple[int, ...] = (),
    ) -> None:
        self.shape: tuple[int, ...] = (*arrays[0].shape, *channels)
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        self._function = function
        self._arrays = arrays

    @property
    def size(self) -> int:
        """Number of values."""
        return math.prod(self.shape)

    def __getitem__(self, part: Any) -> npt.NDArray[Any]:
        values = self._function(*(np.asarray(array[part]) for array in self._arrays))
        for array in self._arrays:
            release(array)
        return values


def strips_of(picture: Sliced) -> Iterator[npt.NDArray[Any]]:
    """Yield the rows of a picture H W ... in strips."""
    height, *row = picture.shape
    rows = max(1, _STRIP // max(1, math.prod(row)))
    for first in range(0, height, rows):
        yield np.asarray(picture[first : first + rows])
        release(picture)
