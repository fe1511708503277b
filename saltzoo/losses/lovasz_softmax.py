"""Lovász softmax: the Jaccard loss of classes. Berman et al., 2018, https://arxiv.org/abs/1705.08790."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from .._checks import check_choice
from ._inputs import label_inputs
from ._module import LossModule
from ._ranking import in_pixel_order, jaccard_steps, rank
from ._reduce import REDUCTIONS, Reduction, by_image, reduce_images

Classes = Literal["present", "all"]
CLASSES = ("present", "all")


def lovasz_softmax(
    logits: Tensor,
    target: Tensor,
    *,
    classes: Classes = "present",
    per_image: bool = True,
    ignore_index: int | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Lovász softmax of arXiv 1705.08790, in float32 (float64 stays).

    For each class the errors |y - p| of all pixels are ranked, largest first; its loss is the sum of each error times
    the rise of the class's Jaccard loss at that rank. One sort serves all images and classes; of two classes, whose
    errors are the same, one serves both.

    Empty masks: a class that is not in an image is left out with `classes="present"`; an image of background alone
    teaches through the background's loss, which is the mean error and reaches each pixel. With `classes="all"` an
    absent class adds its largest probability, whose pixel alone gets that gradient.

    Args:
        logits: raw scores, (N, C, H, W), any floating dtype; C is 2 or more.
        target: labels 0 to C - 1, (N, H, W).
        classes: which of them count in an image: those that are present in its labels, or all.
        per_image: one loss an image, and class; False ranks the pixels of the batch as of one image, as the authors'
            code does if not told otherwise.
        ignore_index: pixels of this label are left out.
        reduction: "mean" over the classes that count in an image, then over images that have a valid pixel; "sum"; or
            "none": (M, C), 0 where nothing counts. M is N, or 1 if not `per_image`.

    Returns:
        A scalar, or (M, C). A batch without any valid pixel gives 0 with gradient 0.

    Raises:
        TypeError: logits are not floating point, or labels not integers.
        ValueError: shapes, devices, `ignore_index` or an option do not fit; on a CPU, a label beyond 0 to C - 1.

    Example:
        >>> logits = torch.tensor([[[[99.0, 0.0]], [[0.0, 99.0]]]])  # first pixel of class 0, second of class 1
        >>> lovasz_softmax(logits, torch.tensor([[[0, 0]]]), classes="all", reduction="none")
        tensor([[0.5000, 1.0000]])
    """
    check_choice("classes", classes, CLASSES)
    check_choice("reduction", reduction, REDUCTIONS)
    logits, labels, valid = label_inputs(logits, target, ignore_index=ignore_index)
    shares = logits.softmax(1)
    masks = torch.zeros_like(shares, dtype=torch.bool).scatter_(1, labels[:, None], True)  # N C H W
    if valid is not None:
        masks = masks & valid[:, None]
    masks = by_image(masks, per_image=per_image)  # M C P
    errors = (masks.to(shares.dtype) - by_image(shares, per_image=per_image)).abs()
    counted = masks.any(-1) if classes == "present" else None
    if valid is not None:
        valid = by_image(valid, per_image=per_image)[:, None]  # M 1 P
        # Of error 0 a pixel adds nothing, and ranks behind all that do.
        errors = errors.masked_fill(~valid, 0)
        if counted is None:
            counted = valid.any(-1).expand(errors.shape[:2])
    weights = _weights(errors.detach(), masks, counted)
    losses = (errors * weights).sum(-1)  # M C
    if counted is not None:
        losses = losses.masked_fill(~counted, 0)
    return reduce_images(losses, counted, reduction)


@torch.no_grad()
def _weights(errors: Tensor, masks: Tensor, counted: Tensor | None) -> Tensor:
    """Of each pixel and class, M C P; anything for classes that do not count."""
    if errors.shape[1] == 2:  # p and 1 - p err alike; of both, the wrong class's p holds more digits than 1 - p
        order = rank(errors[:, 0].where(masks[:, 1], errors[:, 1]))
        both = [in_pixel_order(jaccard_steps(mask, order, errors.dtype), order) for mask in masks.unbind(1)]
        return torch.stack(both, 1)
    rows, row_masks = errors.flatten(0, 1), masks.flatten(0, 1)
    if counted is None or errors.device.type != "cpu" or torch.compiler.is_compiling():
        order = rank(rows)
        return in_pixel_order(jaccard_steps(row_masks, order, rows.dtype), order).view_as(errors)
    # Most of many classes are absent from an image: not sorted here. Elsewhere how many would have to be waited for.
    kept = counted.flatten().nonzero()[:, 0]
    order = rank(rows[kept])
    steps = in_pixel_order(jaccard_steps(row_masks[kept], order, rows.dtype), order)
    return torch.zeros_like(rows).index_copy_(0, kept, steps).view_as(errors)


class LovaszSoftmaxLoss(LossModule, function=lovasz_softmax, classes=2):
    """`lovasz_softmax` as a module; its options are those of the function."""
