"""Reduction of losses per pixel and per image."""

from __future__ import annotations

import torch
from torch import Tensor

from ._options import Reduction


def by_image(pixels: Tensor, *, per_image: bool) -> Tensor:
    """Flatten the pixels of each image: N H W -> M P and N C H W -> M C P.

    Args:
        pixels: one value a pixel.
        per_image: M is N if True; otherwise M is 1, and P holds the pixels of all images.
    """
    lines = pixels.flatten(-2)
    return lines if per_image else lines.movedim(0, -2).flatten(-2)[None]


def reduce_pixels(loss: Tensor, valid: Tensor | None, reduction: Reduction) -> Tensor:
    """Reduce losses of equal weight. The mean is over valid pixels, and 0 if there are none or no image.

    Args:
        loss: one value a pixel, 0 at pixels that are not valid.
        valid: bool in the shape of `loss`; None if every pixel is valid.
        reduction: "mean", "sum" or "none".
    """
    if reduction == "none":
        return loss
    if reduction == "sum" or loss.numel() == 0:
        return loss.sum()
    if valid is None:
        return loss.mean()
    return loss.sum() / valid.sum().clamp(min=1)


def reduce_weighted(loss: Tensor, weight: Tensor, valid: Tensor | None, reduction: Reduction) -> Tensor:
    """Reduce losses times their weights. The mean is over weights, and 0 if these are 0.

    Args:
        loss: one value a pixel, 0 at pixels that are not valid.
        weight: weight of each pixel.
        valid: bool in the shape of `loss`; None if every pixel is valid.
        reduction: "mean", "sum" or "none".
    """
    loss = loss * weight
    if reduction != "mean":
        return reduce_pixels(loss, valid, reduction)
    return loss.sum() / total_weight(weight, valid)


def total_weight(weight: Tensor, valid: Tensor | None) -> Tensor:
    """Return the sum of the weights of valid pixels, or 1 if it is 0."""
    return _above_0((weight if valid is None else weight.masked_fill(~valid, 0)).sum())


def reduce_images(
    loss: Tensor, counted: Tensor | None, reduction: Reduction, *, weight: Tensor | None = None
) -> Tensor:
    """Reduce losses of images. The mean is over the counted classes of an image, then over images that have any.

    Args:
        loss: (M,) or (M, C), 0 where not counted.
        counted: bool in the shape of `loss`; None if everything counts. If nothing counts, the mean is 0.
        reduction: "mean", "sum" or "none".
        weight: factor of each class, (C,); the mean over classes is then over weights.
    """
    if weight is not None:
        shares = weight.expand(loss.shape) if counted is None else weight * counted  # M C
        loss = loss * weight
        if reduction == "mean":
            loss, counted = loss.sum(1) / _above_0(shares.sum(1)), shares.sum(1) > 0
    elif reduction == "mean" and counted is not None and loss.ndim == 2:
        loss, counted = loss.sum(1) / counted.sum(1).clamp(min=1), counted.any(1)
    return reduce_pixels(loss, counted, reduction)


def _above_0(total: Tensor) -> Tensor:
    return torch.where(total > 0, total, 1)
