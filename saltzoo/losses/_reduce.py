"""How losses of pixels and of images become one number."""

from __future__ import annotations

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
    """Reduce losses of equal weight. The mean is over valid pixels, and 0 if there are none.

    Args:
        loss: one value a pixel, 0 at pixels that are not valid.
        valid: bool in the shape of `loss`; None if every pixel is valid.
        reduction: "mean", "sum" or "none".
    """
    if reduction == "none":
        return loss
    if reduction == "sum":
        return loss.sum()
    if valid is None:
        return loss.mean()
    return loss.sum() / valid.sum().clamp(min=1)


def reduce_images(loss: Tensor, counted: Tensor | None, reduction: Reduction) -> Tensor:
    """Reduce losses of images. The mean is over the counted classes of an image, then over images that have any.

    Args:
        loss: (M,) or (M, C), 0 where not counted.
        counted: bool in the shape of `loss`; None if everything counts. The mean of nothing is 0.
        reduction: "mean", "sum" or "none".
    """
    if reduction == "mean" and counted is not None and loss.ndim == 2:
        loss, counted = loss.sum(1) / counted.sum(1).clamp(min=1), counted.any(1)
    return reduce_pixels(loss, counted, reduction)
