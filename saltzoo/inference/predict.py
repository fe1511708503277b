"""predict: probabilities of tiles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, overload

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .._checks import check_counts
from .._torch import modes_restored, wrapper_hint
from ..contracts import SegmentationModel, SegOutput

Array = npt.NDArray[Any]


@overload
def predict(model: SegmentationModel, images: Array, *, tta: str | None = ..., batch_size: int = ...) -> Array: ...
@overload
def predict(model: SegmentationModel, images: Tensor, *, tta: str | None = ..., batch_size: int = ...) -> Tensor: ...
@overload
def predict(
    model: SegmentationModel, images: Sequence[Array | Tensor], *, tta: str | None = ..., batch_size: int = ...
) -> list[Array | Tensor]: ...
def predict(
    model: SegmentationModel,
    images: Array | Tensor | Sequence[Array | Tensor],
    *,
    tta: str | None = None,
    batch_size: int = 32,
) -> Array | Tensor | list[Array | Tensor]:
    """Return the probabilities of tiles, computed with the model's preprocessing on the model's device.

    Args:
        model: saltzoo model in any mode, which is restored at the end.
        images: tiles (N, H, W), one tile (H, W), or images (N, C, H, W) for a model of C channels; or a list of
            tiles (H, W) or (C, H, W) of any sizes. Gray tiles are repeated for a model of several channels.
            numpy or torch, uint8, uint16, or floating point in 0..1.
        tta: "hflip" averages the probabilities of each tile and its mirror image. None: no averaging.
        batch_size: number of tiles per batch. Tiles in a batch have the same size.

    Returns:
        float32 probabilities at the size of the tiles, in the container of the images (numpy, or torch on their
        device; one, many, or a list): (N, H, W) from a sigmoid for a model of one class, (N, K, H, W) from a softmax
        for K classes.

    Raises:
        TypeError: if the model has no preprocess, or the images are not arrays.
        ValueError: if the shape, dtype or range of the images is wrong, or an option is unknown.

    Example:
        >>> import saltzoo
        >>> model = saltzoo.create_model("unet_resnet18")
        >>> predict(model, np.zeros((3, 101, 101), dtype=np.uint8)).shape
        (3, 101, 101)
    """
    if not isinstance(model, SegmentationModel):
        raise TypeError(f"{type(model).__name__} is not a saltzoo model: it has no preprocess. {wrapper_hint(model)}")
    if tta not in (None, "hflip"):
        raise ValueError(f'tta must be None or "hflip", got {tta!r}')
    check_counts(batch_size=batch_size)
    if isinstance(images, (np.ndarray, Tensor)):
        one = images.ndim == 2
        many = images[None] if one else images
        if many.ndim == 3:
            many = many[:, None]
        result = _like(_predict_batches(model, _checked(many, model.preprocess.in_chans), tta, batch_size), images)
        return result[0] if one else result
    return _predict_list(model, images, tta, batch_size)


def _predict_list(
    model: SegmentationModel, images: Sequence[Array | Tensor], tta: str | None, batch_size: int
) -> list[Array | Tensor]:
    """Predict tiles of one size and dtype together, in full batches."""
    groups: dict[Any, list[int]] = {}
    tiles = []
    for position, image in enumerate(images):
        if not isinstance(image, (np.ndarray, Tensor)) or image.ndim not in (2, 3):
            given = tuple(image.shape) if isinstance(image, (np.ndarray, Tensor)) else type(image).__name__
            raise TypeError(f"a list must hold tiles (H, W) or (C, H, W) of numpy or torch, item {position} is {given}")
        tile = _checked(image[None, None] if image.ndim == 2 else image[None], model.preprocess.in_chans)
        groups.setdefault((tile.shape, tile.dtype, tile.device), []).append(position)
        tiles.append(tile)
    results: list[Array | Tensor] = [tiles[0]] * len(tiles) if tiles else []
    for positions in groups.values():
        probabilities = _predict_batches(model, torch.cat([tiles[i] for i in positions]), tta, batch_size)
        for position, one in zip(positions, probabilities, strict=True):
            results[position] = _like(one, images[position])
    return results


def _checked(images: Array | Tensor, in_chans: int) -> Tensor:
    """Return images N C H W as a tensor, or raise ValueError for another shape, dtype or range."""
    if images.ndim != 4 or images.shape[1] not in (1, in_chans):
        raise ValueError(
            f"expected tiles (H, W) or (N, H, W), or images (N, {in_chans}, H, W) for this model of {in_chans} "
            f"channel(s); got {tuple(images.shape)}"
        )
    batch = _tensor(images)
    if batch.is_floating_point():
        if batch.numel() and not ((batch >= 0) & (batch <= 1)).all():
            raise ValueError(
                f"floating-point images must be in 0..1 without NaN, got {batch.min():.4g} to {batch.max():.4g}: "
                f"divide by their full scale, or pass uint8"
            )
    elif batch.dtype not in (torch.uint8, torch.uint16):
        raise ValueError(f"images must be uint8, uint16 or floating point in 0..1, got {batch.dtype}")
    return batch


def _tensor(images: Array | Tensor) -> Tensor:
    """Return the images as a tensor, which shares memory where torch can."""
    if isinstance(images, Tensor):
        return images.detach()
    native = np.ascontiguousarray(
        images, dtype=images.dtype.newbyteorder("=")
    )  # SEG-Y and some TIFF files are big-endian
    return torch.from_numpy(native if native.flags.writeable else native.copy())


@torch.inference_mode()
def _predict_batches(model: SegmentationModel, images: Tensor, tta: str | None, batch_size: int) -> Tensor:
    """Checked images N C H W -> N H W or N K H W, on their device."""
    weight = next(model.parameters())
    results = []
    with modes_restored(model):
        model.eval()
        for batch in images.split(batch_size):
            tiles = _unit_scale(batch.to(weight.device)).expand(-1, model.preprocess.in_chans, -1, -1)
            prepared = model.preprocess(tiles).to(weight.dtype)
            probabilities = _probabilities(model(prepared))
            if tta == "hflip":
                probabilities = (probabilities + _probabilities(model(prepared.flip(-1))).flip(-1)) / 2
            unpadded = model.preprocess.unpad(probabilities, (images.shape[-2], images.shape[-1]))
            results.append(unpadded.to(images.device))
    return torch.cat(results)


def _unit_scale(images: Tensor) -> Tensor:
    """uint8, uint16 or floating point -> float32 in 0..1."""
    scale = 1 if images.is_floating_point() else torch.iinfo(images.dtype).max
    return images.float() / scale


def _probabilities(output: Tensor | SegOutput) -> Tensor:
    """Logits N 1 H W -> N H W; N K H W -> N K H W."""
    logits = (output.logits if isinstance(output, SegOutput) else output).float()
    return logits[:, 0].sigmoid() if logits.shape[1] == 1 else logits.softmax(1)


def _like(result: Tensor, images: Array | Tensor) -> Any:
    """Return a result as numpy or torch, as the images are; a clone is no longer an inference tensor."""
    return result.numpy() if isinstance(images, np.ndarray) else result.clone()
