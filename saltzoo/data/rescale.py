"""Rescaling of tiles: two small matrices a tile, one for its rows and one for its columns."""

from __future__ import annotations

import torch
from torch import Tensor


def source_positions(size: int, scale: Tensor, place: Tensor) -> Tensor:
    """Return where each pixel of a rescaled side lies in the side itself.

    Args:
        size: pixels of the side.
        scale: N magnifications, 0.5 or more.
        place: N numbers in -1..1. A magnified tile shows a part of the side, from its first pixels (-1) to its last
            ones (1); a reduced tile shows all of it, at its end (-1) or at its beginning (1).

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
        scale: N magnifications, 0.5 or more, so that a triangle covers four pixels at most.

    Returns:
        N size size; rows sum to 1.
    """
    size = position.shape[1]
    source = position.floor()[:, :, None] + torch.arange(-1, 3, device=position.device)  # N size 4
    width = (1 / scale).clamp(min=1)[:, None, None]
    weight = (1 - (source - position[:, :, None]).abs() / width).clamp(min=0)
    weight = weight / weight.sum(-1, keepdim=True)
    matrix = weight.new_zeros(*position.shape, size)
    return matrix.scatter_add_(-1, mirrored(source.long(), size), weight)


def nearest_pixel(position: Tensor) -> Tensor:
    """Return the pixel of a side, or of its mirror images, that is nearest to each position, N size integers."""
    return mirrored(position.round().long(), position.shape[1])


def mirrored(pixel: Tensor, size: int) -> Tensor:
    """Return the pixels of a side of which given ones, within or beyond it, are mirror images.

    Example:
        >>> mirrored(torch.tensor([-2, -1, 0, 2, 3, 6]), 3)
        tensor([1, 0, 0, 2, 2, 0])
    """
    pixel = pixel % (2 * size)
    return torch.minimum(pixel, 2 * size - 1 - pixel)
