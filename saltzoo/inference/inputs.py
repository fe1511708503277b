"""What `predict` takes: images and their scalars, checked, as tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..preprocess import Preprocess

Array = npt.NDArray[Any]
Scalars = Array | Tensor | Sequence[float] | float

_COLOURS = (1, 3, 4)
"""Numbers of channels that files of pictures have: gray, RGB, RGBA."""

_SMALLEST = 8
"""Rows and columns from which on an array H W 3 is a picture and not H tiles of 3 columns."""


def batch_of(images: Array | Tensor, preprocess: Preprocess) -> Tensor:
    """Return one tile H W, tiles N H W or images N C H W as a tensor N C H W.

    Raises:
        ValueError: for another shape, dtype or range.
    """
    shape, channels = tuple(images.shape), preprocess.image_chans
    hint = _layout_hint(images, channels, pictures=len(shape) == 4)
    many = images[None] if len(shape) == 2 else images
    many = many[:, None] if many.ndim == 3 else many
    if hint or many.ndim != 4 or many.shape[1] not in (1, channels):
        raise ValueError(
            f"expected tiles (H, W) or (N, H, W), or images (N, {channels}, H, W) for this model of {channels} "
            f"channel(s); got {shape}{hint}"
        )
    return _values(many)


def image_of(image: Any, preprocess: Preprocess, position: int) -> Tensor:
    """Return an item of a list, a tile H W or an image C H W, as a tensor 1 C H W.

    Raises:
        TypeError: if it is no array of 2 or 3 dimensions.
        ValueError: for another shape, dtype or range.
    """
    if not isinstance(image, (np.ndarray, Tensor)) or image.ndim not in (2, 3):
        given = tuple(image.shape) if isinstance(image, (np.ndarray, Tensor)) else type(image).__name__
        raise TypeError(f"a list must hold tiles (H, W) or (C, H, W) of numpy or torch, item {position} is {given}")
    channels = preprocess.image_chans
    if image.ndim == 3 and image.shape[0] not in (1, channels):
        raise ValueError(
            f"a list must hold tiles (H, W), or images ({channels}, H, W) for this model of {channels} channel(s); "
            f"item {position}: got {(1, *image.shape)}{_layout_hint(image, channels, pictures=True)}"
        )
    return _values(image[None, None] if image.ndim == 2 else image[None])


def scalars_of(scalars: Scalars | None, count: int, preprocess: Preprocess) -> Tensor | None:
    """Return one number for each of `count` images as a float32 tensor N, or None where the model reads none.

    Raises:
        TypeError: if they are not numbers.
        ValueError: if their number is not that of the images, one is not finite, or the model reads none.
    """
    values = None
    if scalars is not None:
        given = scalars if isinstance(scalars, Tensor) else torch.from_numpy(_numbers(scalars))
        if given.dtype == torch.bool or given.is_complex():
            raise TypeError(f"scalars must be numbers, one for each image, got {given.dtype}")
        values = given.detach().float()
        values = values[None] if values.ndim == 0 and count == 1 else values
    preprocess.check_scalars(values, count)
    if values is None:
        return None
    values = values.reshape(count)
    wrong = (~values.isfinite()).nonzero()
    if len(wrong):
        raise ValueError(
            f"scalars must be finite, got {values[wrong[0, 0]].item()} for image {wrong[0, 0].item()}: where a number "
            f"is unknown, give the mean of those with which the model was trained, model.preprocess.mean[-1]"
        )
    return values


def unit_scale(images: Tensor) -> Tensor:
    """uint8, uint16 or floating point -> float32 in 0..1."""
    scale = 1 if images.is_floating_point() else torch.iinfo(images.dtype).max
    return images.float() / scale


def _numbers(scalars: Any) -> npt.NDArray[np.float64]:
    try:
        array = np.asarray(scalars)
    except ValueError:  # lists of different lengths
        array = np.asarray(None)
    if array.dtype.kind not in "iuf":
        raise TypeError(f"scalars must be numbers, one for each image, got {scalars!r}")
    return array.astype(np.float64)


def _values(images: Array | Tensor) -> Tensor:
    """Return images as a tensor, which shares memory where torch can, or raise ValueError for their dtype or range."""
    batch = _tensor(images)
    if batch.is_floating_point():
        if batch.numel() and not ((batch >= 0) & (batch <= 1)).all():
            low, high = batch.min().item(), batch.max().item()
            raise ValueError(
                f"floating-point images must be in 0..1 without NaN, got {_told(low)} to {_told(high)}: "
                f"{range_hint(low, high)}"
            )
    elif batch.dtype not in (torch.uint8, torch.uint16):
        raise ValueError(f"images must be uint8, uint16 or floating point in 0..1, got {batch.dtype}")
    return batch


def _tensor(images: Array | Tensor) -> Tensor:
    if isinstance(images, Tensor):
        return images.detach()
    if images.dtype.kind not in "biuf":
        raise ValueError(f"images must be uint8, uint16 or floating point in 0..1, got {images.dtype}")
    native = np.ascontiguousarray(
        images, dtype=images.dtype.newbyteorder("=")
    )  # SEG-Y and some TIFF files are big-endian
    return torch.from_numpy(native if native.flags.writeable else native.copy())


def _told(value: float) -> str:
    """Return a number in 4 digits, or in all if it would seem to be in 0..1 and is not."""
    short = f"{value:.4g}"
    return short if 0 <= value <= 1 or not 0 <= float(short) <= 1 else repr(value)


def range_hint(low: float, high: float) -> str:
    """Return how images of another range become images in 0..1."""
    if not (np.isfinite(low) and np.isfinite(high)):
        return "replace NaN and infinite samples, for instance by the mean of the others"
    if low >= -0.01 and high <= 1.01:
        return "clip them, images.clip(0, 1)"
    if low >= 0:
        if high <= 255:
            return "divide them by 255, the full scale of 8 bits"
        if high <= 65535:
            twelve = " (4095 if they have 12 bits)" if high <= 4095 else ""
            return f"divide them by 65535, the full scale of 16 bits{twelve}"
    if low >= -1 and high <= 1:
        return "give (images + 1) / 2"
    return (
        "the model standardises images itself, so give them as they were before, images * std + mean; amplitudes "
        "become an image by ((images - low) / (high - low)).clip(0, 1) with, for instance, their 1st and 99th "
        "percentiles as low and high"
    )


def _layout_hint(images: Array | Tensor, channels: int, *, pictures: bool) -> str:
    """Return what to do with images whose last axis holds their channels, or "" if it does not.

    Args:
        images: array of any shape.
        channels: channels of the images that the model takes.
        pictures: whether the images have an axis of channels; False for tiles N H W.
    """
    shape = tuple(images.shape)
    if len(shape) not in (3, 4) or min(shape[-3:-1]) < _SMALLEST or shape[-1] not in (*_COLOURS, channels):
        return ""
    if pictures and shape[-3] in (1, channels):
        return ""
    last = shape[-1]
    if last >= _SMALLEST:
        return ""
    found = f": the last axis seems to hold {last} channel(s). "
    if last == 1:
        return f"{found}Give images[..., 0]"
    if last == channels:
        moved = "images.movedim(-1, -3)" if isinstance(images, Tensor) else "numpy.moveaxis(images, -1, -3)"
        return f"{found}Put them first, {moved}{'[None]' if not pictures else ''}"
    full = {"uint8": " / 255", "uint16": " / 65535"}.get(str(images.dtype).removeprefix("torch."), "")
    return f"{found}Make them gray, (images[..., :{min(last, 3)}]{full}).mean(-1)"
