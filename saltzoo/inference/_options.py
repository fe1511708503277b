"""Checks of the picture and the options of `predict_tiled`."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from .._checks import check_choice, check_counts, check_fraction
from ._axis import BLENDS
from ._source import Normalize, Picture

TILE = 101
"""Height and width of the tiles with which models of the zoo are trained."""


def checked_picture(picture: object) -> Picture:
    """Return a picture; a tensor as an array.

    Raises:
        TypeError: if it is no array, or a masked one.
        ValueError: if it is not H W, has no samples, or holds no real numbers.
    """
    if isinstance(picture, Tensor):
        picture = picture.detach().cpu()
        picture = (picture.float() if picture.dtype == torch.bfloat16 else picture).numpy()
    if isinstance(picture, np.ma.MaskedArray):
        raise TypeError("picture must be a plain array, got a masked one: give picture.filled(numpy.nan)")
    if not isinstance(picture, Picture):
        raise TypeError(
            f"picture must slice like an array (numpy, a memory map, zarr, h5py), got {type(picture).__name__}: give "
            f"the samples, and read a file with saltzoo.seismic.read_picture first"
        )
    shape = tuple(picture.shape)
    if len(shape) != 2 or 0 in shape:
        raise ValueError(f"picture must be gray, (height, width) with one or more samples, got {shape}: give one plane")
    if np.dtype(picture.dtype).kind not in "iuf":
        raise ValueError(f"picture must hold integers or floating-point numbers, got {picture.dtype}: convert it")
    return picture


def check_options(overlap: float, blend: str, scale: Sequence[float], polarity: int, normalize: Normalize) -> None:
    """Raise ValueError if an option of `predict_tiled` is outside its limits."""
    check_fraction(overlap=overlap)
    check_choice("blend", blend, BLENDS)
    check_choice("polarity", polarity, (1, -1))
    if not _are_numbers(scale) or min(scale) <= 0:
        raise ValueError(f"scale must be two finite numbers above 0, vertical and horizontal, got {scale!r}")
    if isinstance(normalize, str):
        check_choice("normalize", normalize, ("image", "survey"))
    elif not _are_numbers(normalize) or normalize[1] <= 0:
        raise ValueError(
            f'normalize must be "image", "survey" or a finite median and a deviation above 0, got {normalize!r}'
        )


def _are_numbers(pair: object) -> bool:
    """Return whether a value is a pair of finite numbers."""
    return (
        isinstance(pair, Sequence)
        and len(pair) == 2
        and all(isinstance(one, int | float) and math.isfinite(one) for one in pair)
    )


def sides_of(tile: int | tuple[int, int] | None) -> tuple[int, int]:
    """Return height and width of the tiles.

    Raises:
        TypeError: if `tile` is neither None nor one or two whole numbers.
        ValueError: if a number is below 1.
    """
    sides = (TILE, TILE) if tile is None else (tile, tile) if isinstance(tile, int | np.integer) else tile
    if (
        not isinstance(sides, Sequence)
        or len(sides) != 2
        or not all(isinstance(side, int | np.integer) for side in sides)
    ):
        raise TypeError(f"tile must be one whole number or two, height and width, got {tile!r}")
    check_counts(tile=sides)
    return int(sides[0]), int(sides[1])
