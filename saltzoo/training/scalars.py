"""The depth of a tile as one more channel, for networks that read one number for the whole image.

The number enters in feet: the mean and deviation of the last channel of `model.preprocess` are those of the training
tiles' depths, and are saved with the weights.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ..data import Tiles
from ..inference import predict
from ..models import Segmenter
from ..preprocess import Preprocess


def reads_scalar(model: Segmenter) -> bool:
    """Return whether the last channel of a model's image is a plane that holds one number."""
    return model.preprocess.scalar


def check_depths(tiles: Tiles, what: str) -> None:
    """Raise unless the depth of every tile is known.

    Raises:
        ValueError: if depths are missing, NaN or infinite.
    """
    if tiles.depths is None:
        raise ValueError(
            f"{what} must have depths for a model with scalar_channel, got none: give Tiles(..., depths=...), for the "
            f'competition with depths.csv in its folder, or the model option scalar_channel="none"'
        )
    unknown = np.flatnonzero(~np.isfinite(tiles.depths))
    if len(unknown):
        raise ValueError(
            f"depths of {what} must be finite numbers for a model with scalar_channel, but {len(unknown)} are not (the "
            f"first: {tiles.depths[unknown[0]]} of {tiles.ids[unknown[0]]!r}): leave these tiles out, or fill them in"
        )


def with_depths_of(preprocess: Preprocess, tiles: Tiles) -> Preprocess:
    """Return a preprocessing whose last channel has the mean and deviation of the tiles' depths."""
    depths = np.asarray(tiles.depths, dtype=np.float64)
    std = float(depths.std())
    return replace(
        preprocess,
        mean=(*preprocess.mean[:-1], float(depths.mean())),
        std=(*preprocess.std[:-1], std if std > 0 else 1.0),
    )


def network_images(model: Segmenter, images: Tensor, depths: Tensor | None) -> Tensor:
    """Return gray images N 1 H W with the channels that the model takes, before its preprocessing."""
    return model.preprocess.assemble(images, depths)


def predict_tiles(model: Segmenter, tiles: Tiles, device: torch.device, *, tta: str | None = None) -> Tensor:
    """Return probabilities of tiles, N H W, or N K H W for K classes, on a device.

    Args:
        model: model on that device.
        tiles: tiles, with depths if the model reads a scalar.
        device: device of the result.
        tta: test-time augmentation, as `saltzoo.predict` takes it.
    """
    images = torch.from_numpy(tiles.images).to(device)
    return predict(model, images, scalars=tiles.depths if reads_scalar(model) else None, tta=tta)
