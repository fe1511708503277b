"""predict: probabilities of tiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
import torch
from torch import Tensor, nn

from .._checks import check_counts
from .._torch import evaluating, wrapper_hint
from ..contracts import SegmentationModel, SegOutput
from ..preprocess import Preprocess
from .inputs import Array, Scalars, batch_of, image_of, scalars_of


@overload
def predict(
    model: SegmentationModel,
    images: Array,
    *,
    scalars: Scalars | None = ...,
    tta: str | None = ...,
    batch_size: int = ...,
) -> Array: ...
@overload
def predict(
    model: SegmentationModel,
    images: Tensor,
    *,
    scalars: Scalars | None = ...,
    tta: str | None = ...,
    batch_size: int = ...,
) -> Tensor: ...
@overload
def predict(
    model: SegmentationModel,
    images: Sequence[Array | Tensor],
    *,
    scalars: Scalars | None = ...,
    tta: str | None = ...,
    batch_size: int = ...,
) -> list[Array | Tensor]: ...
def predict(
    model: SegmentationModel,
    images: Array | Tensor | Sequence[Array | Tensor],
    *,
    scalars: Scalars | None = None,
    tta: str | None = None,
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
        tta: "hflip" averages the probabilities of each tile and its mirror image. None: no averaging.
        batch_size: number of tiles per batch. Tiles in a batch have the same size.

    Returns:
        float32 probabilities at the size of the tiles, in the container of the images (numpy, or torch on their
        device; one, many, or a list): (N, H, W) from a sigmoid for a model of one class, (N, K, H, W) from a softmax
        for K classes.

    Raises:
        TypeError: if the model has no preprocess, the images are not arrays, or the scalars are not numbers.
        ValueError: if the shape, dtype or range of the images is wrong, scalars are missing, not finite or not read by
            the model, or an option is unknown.

    Example:
        >>> import saltzoo
        >>> model = saltzoo.create_model("unet_resnet18")
        >>> predict(model, np.zeros((3, 101, 101), dtype=np.uint8)).shape
        (3, 101, 101)
    """
    module, preprocess = _parts_of(model)
    if tta not in (None, "hflip"):
        raise ValueError(f'tta must be None or "hflip", got {tta!r}')
    check_counts(batch_size=batch_size)
    run = _Run(module, preprocess, tta, batch_size)
    if isinstance(images, (np.ndarray, Tensor)):
        batch = batch_of(images, preprocess)
        result = _like(run.predict(batch, scalars_of(scalars, len(batch), preprocess)), images)
        return result[0] if images.ndim == 2 else result
    if not isinstance(images, Sequence) or isinstance(images, str):
        raise TypeError(
            f"images must be tiles as a numpy array or a torch tensor, or a list of them, got {type(images).__name__}"
        )
    return _predict_list(run, images, scalars)


def _parts_of(model: SegmentationModel) -> tuple[nn.Module, Preprocess]:
    """Return a model as a module, and its preprocess, which a wrapper of torch.compile passes on."""
    wrong = TypeError(f"{type(model).__name__} is not a saltzoo model: it has no preprocess. {wrapper_hint(model)}")
    if not isinstance(model, nn.Module):
        raise wrong
    try:
        preprocess = model.preprocess
    except AttributeError:
        raise wrong from None
    if not isinstance(preprocess, Preprocess):
        raise TypeError(f"model.preprocess must be a saltzoo.Preprocess, got {type(preprocess).__name__}")
    return model, preprocess


@dataclass(frozen=True)
class _Run:
    """A model and how it predicts."""

    model: nn.Module
    preprocess: Preprocess
    tta: str | None
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
        weight = next(self.model.parameters(), torch.empty(0, device=images.device))
        results = []
        with evaluating(self.model) as view:
            for first in range(0, len(images), self.batch_size):
                part = slice(first, first + self.batch_size)
                tiles = _unit_scale(images[part].to(weight.device))
                prepared = self.preprocess(self.preprocess.assemble(tiles, None if scalars is None else scalars[part]))
                probabilities = self._mirrored(view, prepared.to(weight.dtype))
                unpadded = self.preprocess.unpad(probabilities, (images.shape[-2], images.shape[-1]))
                results.append(unpadded.to(images.device))
        return torch.cat(results)

    def _mirrored(self, view: nn.Module, prepared: Tensor) -> Tensor:
        """Return the probabilities of a batch, which `tta` averages with those of its mirror image."""
        probabilities = _probabilities(view(prepared))
        if self.tta is None:
            return probabilities
        return (probabilities + _probabilities(view(prepared.flip(-1))).flip(-1)) / 2


def _predict_list(run: _Run, images: Sequence[Array | Tensor], scalars: Scalars | None) -> list[Array | Tensor]:
    """Predict tiles of one size and dtype together, in full batches."""
    tiles = [image_of(image, run.preprocess, position) for position, image in enumerate(images)]
    values = scalars_of(scalars, len(tiles), run.preprocess)
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
