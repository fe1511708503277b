"""predict: probabilities of tiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
import torch
from torch import Tensor

from .._checks import check_counts
from ..contracts import SegmentationModel
from ._run import Run
from .inputs import Array, Scalars, batch_of, image_of, scalars_of, unit_scale
from .tta import Mean, Transform


@overload
def predict(
    model: SegmentationModel,
    images: Array,
    *,
    scalars: Scalars | None = ...,
    tta: str | Sequence[Transform] | None = ...,
    tta_mean: Mean = ...,
    batch_size: int = ...,
) -> Array: ...
@overload
def predict(
    model: SegmentationModel,
    images: Tensor,
    *,
    scalars: Scalars | None = ...,
    tta: str | Sequence[Transform] | None = ...,
    tta_mean: Mean = ...,
    batch_size: int = ...,
) -> Tensor: ...
@overload
def predict(
    model: SegmentationModel,
    images: Sequence[Array | Tensor],
    *,
    scalars: Scalars | None = ...,
    tta: str | Sequence[Transform] | None = ...,
    tta_mean: Mean = ...,
    batch_size: int = ...,
) -> list[Array | Tensor]: ...
def predict(
    model: SegmentationModel,
    images: Array | Tensor | Sequence[Array | Tensor],
    *,
    scalars: Scalars | None = None,
    tta: str | Sequence[Transform] | None = None,
    tta_mean: Mean = "probabilities",
    batch_size: int = 32,
) -> Array | Tensor | list[Array | Tensor]:
    """Return the probabilities of tiles, computed with the model's preprocessing on the model's device.

    The model is computed in evaluation mode whatever its mode is, and no mode is changed for that: other threads may
    use or train the model meanwhile. Hooks and torch.compile work as ever; a hook gets a view of its module, which
    shares the module's tensors.

    Args:
        model: saltzoo model in any mode.
        images: tiles (N, H, W), one tile (H, W), or images (N, C, H, W) for a model of C channels; or a list of
            tiles (H, W) or (C, H, W) of any sizes. Gray tiles are repeated for a model of several channels.
            numpy or torch, uint8, uint16, or floating point in 0..1.
        scalars: number of each image for a model that reads one, such as its depth; N numbers in the unit with which
            the model was trained, or one for one tile. None for other models.
        tta: test-time augmentation, which averages the results of transformed tiles. "hflip": the tile and its mirror
            image; "flips": horizontal and vertical, 4 in all; "d4": the flips of the tile and of its transpose, 8;
            "scales": 0.8, 1 and 1.25 times its size. Or a sequence of transforms of `saltzoo.inference`, or of your
            own, that are averaged; a `Compose()` without transforms is the tile itself. None: no averaging.
        tta_mean: what is averaged, "probabilities" or "logits".
        batch_size: number of tiles per batch. Tiles in a batch have the same size. On a CPU the default is within 8 %
            of the best of 4 to 64, as measured on two networks; the number of threads is torch's, one for each core.
            Neither is picked by a measurement, which would take longer than most calls, and whose choice, and with it
            the last digits of the results, would differ from one run to the next.

    Returns:
        float32 probabilities at the size of the tiles, in the container of the images (numpy, or torch on their
        device; one, many, or a list): (N, H, W) from a sigmoid for a model of one class, (N, K, H, W) from a softmax
        for K classes.

    Raises:
        TypeError: if the model has no preprocess, the images are not arrays, the scalars are not numbers, or an item
            of `tta` is no transform.
        ValueError: if the shape, dtype or range of the images is wrong, scalars are missing, not finite or not read by
            the model, or an option is unknown.

    Example:
        >>> import saltzoo
        >>> model = saltzoo.create_model("unet_resnet18")
        >>> predict(model, np.zeros((3, 101, 101), dtype=np.uint8)).shape
        (3, 101, 101)
    """
    check_counts(batch_size=batch_size)
    run = _Batches(Run.of(model, tta, tta_mean), batch_size)
    preprocess = run.run.preprocess
    if isinstance(images, (np.ndarray, Tensor)):
        batch = batch_of(images, preprocess)
        result = _like(run.predict(batch, scalars_of(scalars, len(batch), preprocess)), images)
        return result[0] if images.ndim == 2 else result
    if not isinstance(images, Sequence) or isinstance(images, str):
        raise TypeError(
            f"images must be tiles as a numpy array or a torch tensor, or a list of them, got {type(images).__name__}"
        )
    return _predict_list(run, images, scalars)


@dataclass(frozen=True)
class _Batches:
    """A run and the number of tiles that it takes at a time."""

    run: Run
    batch_size: int

    def predict(self, images: Tensor, scalars: Tensor | None) -> Tensor:
        """Checked images N C H W and their scalars N -> N H W or N K H W, on the images' device."""
        if len(images):
            return self._predict(images, scalars)
        # Some layers cannot take an empty batch. A blank image tells the shape of the result.
        blank = images.new_zeros((1, *images.shape[1:]))
        return self._predict(blank, None if scalars is None else scalars.new_zeros(1))[:0]

    @torch.inference_mode()
    def _predict(self, images: Tensor, scalars: Tensor | None) -> Tensor:
        results = []
        with self.run.started(images.device) as started:
            for first in range(0, len(images), self.batch_size):
                part = slice(first, first + self.batch_size)
                tiles = unit_scale(images[part].to(started.device))
                maps = started.probabilities(tiles, None if scalars is None else scalars[part])  # N K H W
                results.append((maps[:, 0] if maps.shape[1] == 1 else maps).to(images.device))
        return torch.cat(results)


def _predict_list(run: _Batches, images: Sequence[Array | Tensor], scalars: Scalars | None) -> list[Array | Tensor]:
    """Predict tiles of one size and dtype together, in full batches."""
    tiles = [image_of(image, run.run.preprocess, position) for position, image in enumerate(images)]
    values = scalars_of(scalars, len(tiles), run.run.preprocess)
    groups: dict[Any, list[int]] = {}
    for position, tile in enumerate(tiles):
        groups.setdefault((tile.shape, tile.dtype, tile.device), []).append(position)
    results: list[Array | Tensor] = list(tiles)
    for positions in groups.values():
        given = torch.cat([tiles[i] for i in positions])
        probabilities = run.predict(given, None if values is None else values[positions])
        for position, one in zip(positions, probabilities, strict=True):
            results[position] = _like(one, images[position])
    return results


def _like(result: Tensor, images: Array | Tensor) -> Any:
    """Return a result as numpy or torch, as the images are; a clone is no longer an inference tensor."""
    return result.numpy() if isinstance(images, np.ndarray) else result.clone()
