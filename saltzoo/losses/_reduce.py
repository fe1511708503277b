"""How losses of pixels, and of whole images, become one number."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

Reduction = Literal["mean", "sum", "none"]
REDUCTIONS = ("mean", "sum", "none")


def by_image(pixels: Tensor, *, per_image: bool) -> Tensor:
    """Pixels in a line: N H W -> M P and N C H W -> M C P; M is N, or 1 if all images are one."""
    lines = pixels.flatten(-2)
    return lines if per_image else lines.movedim(0, -2).flatten(-2)[None]


def reduce_pixels(loss: Tensor, valid: Tensor | None, reduction: Reduction) -> Tensor:
    """Reduce losses that weigh alike; those that are not valid must be 0 and do not count in a mean.

    Where nothing is valid the mean is 0, not NaN.
    """
    if reduction == "none":
        return loss
    if reduction == "sum":
        return loss.sum()
    if valid is None:
        return loss.mean()
    return loss.sum() / valid.sum().clamp(min=1)


def reduce_images(loss: Tensor, counted: Tensor | None, reduction: Reduction) -> Tensor:
    """Reduce losses of images, (M,) or (M, C); those that are not counted must be 0.

    The mean is over the counted classes of an image, then over the images that have any; 0 where none has.
    """
    if reduction == "mean" and counted is not None and loss.ndim == 2:
        loss, counted = loss.sum(1) / counted.sum(1).clamp(min=1), counted.any(1)
    return reduce_pixels(loss, counted, reduction)
