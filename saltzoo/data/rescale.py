"""Rescaling of tiles: two small matrices a tile, one for its rows and one for its columns."""

from __future__ import annotations

import torch
from torch import Tensor


def source_positions(size: int, scale: Tensor, place: Tensor) -> Tensor:
    """Return where each pixel of a rescaled side lies in the side itself.

    Args:
        size: pixels of the side.
        scale: N magnifications, 0.5 or more.
        place: N numbers in -1..1. A magnified tile shows a part of the side, from its first pixels (-1) to its last (1);
            a reduced tile shows all of it, at its end (-1) or at its beginning (1).

    Returns:
        N size, pixels. Positions beyond the side are those of its mirror images.

    Example:
        >>> source_positions(4, torch.tensor([2.0]), torch.tensor([-1.0]))
        tensor([[-0.2500,  0.2500,  0.7500,  1.2500]])
    """
    centre = (size - 1) / 2
    pixel = torch.arange(size, device=scale.device, dtype=scale.dtype) - centre
    moved = place * (1 - 1 / scale).abs() * size / 2
    return pixel / scale[:, None] + centre + moved[:, None]


def interpolation_matrix(position: Tensor, scale: Tensor) -> Tensor:
    """Return the weights with which pixels of a side make up each pixel of the rescaled one.

    Weights are those of linear interpolation. Where the scale is below 1, the triangle is as much wider, so that fine
    layers fade instead of turning into coarse ones; `torch.nn.functional.interpolate` calls that antialias=True.

    Args:
        position: N size, as `source_positions` returns them.
        scale: N magnifications.

    Returns:
        N size size; rows sum to 1.
    """
    size = position.shape[1]
    source = torch.arange(-size, 2 * size, device=position.device, dtype=position.dtype)
    width = (1 / scale).clamp(min=1)[:, None, None]
    weight = (1 - (source - position[:, :, None]).abs() / width).clamp(min=0)  # N size 3*size
    before, inside, after = weight.chunk(3, dim=-1)
    weight = before.flip(-1) + inside + after.flip(-1)
    return weight / weight.sum(-1, keepdim=True)


def nearest_pixel(position: Tensor) -> Tensor:
    """Return the pixel of a side, or of its mirror images, that is nearest to each position, N size integers."""
    size = position.shape[1]
    pixel = position.round().long() % (2 * size)
    return torch.where(pixel < size, pixel, 2 * size - 1 - pixel)
