"""Lovász softmax: the Jaccard loss of classes. Berman et al., 2018, https://arxiv.org/abs/1705.08790."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from .._checks import check_choice, check_class_subset, check_flags
from .._torch import is_readable
from ._classes import by_class, check_weight, chosen
from ._inputs import label_inputs, one_hot
from ._options import Reduction, check_common, shown_options
from ._ranking import in_pixel_order, jaccard_steps, rank
from ._reduce import by_image, reduce_images

Present = Literal["present", "all"]
Classes = Present | Sequence[int]


def lovasz_softmax(
    logits: Tensor,
    target: Tensor,
    *,
    classes: Classes = "present",
    weight: Sequence[float] | None = None,
    per_image: bool = True,
    ignore_index: int | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Return the Lovász softmax loss. It is computed in float32, or in float64 for float64 logits.

    For each class the errors `|y - p|` of all pixels are ranked, largest first. The loss of the class is the sum of
    each error times the rise of the class's Jaccard loss at that rank. One sort serves all images and classes. Two
    classes have the same errors, so one ranking serves both.

    Empty masks: `classes="present"` leaves out a class that is absent from an image. An image of background alone then
    has the background's loss, which is the mean error and reaches each pixel. With `classes="all"` an absent class adds
    its largest probability, and only that pixel gets its gradient.

    Args:
        logits: raw scores, (N, C, H, W), any floating dtype; C is 2 or more.
        target: labels 0 to C - 1, (N, H, W).
        classes: classes that count in an image: "present" in its labels, "all", or a list, such as [1, 2] for all but
            the background, whether present or not.
        weight: factor of the loss of each class, or of each in the list; numbers of 0 or more. The mean over classes
            is then over weights.
        per_image: whether each image and class has its own loss; otherwise the pixels of the batch are ranked
            together, the default of the authors' code.
        ignore_index: label of pixels that are left out.
        reduction: "mean" over the classes that count in an image, then over images that have a valid pixel; "sum"; or
            "none": (M, C), 0 where nothing counts. M is N, or 1 if not `per_image`.

    Returns:
        A scalar, or (M, C). A batch without valid pixels gives 0 with gradient 0.

    Raises:
        TypeError: if the logits are not floating point, or the labels are not integers.
        ValueError: if shapes, devices, `ignore_index` or an option do not fit; on a CPU, if a label leaves 0 to C - 1.

    Example:
        >>> logits = torch.tensor([[[[99.0, 0.0]], [[0.0, 99.0]]]])  # first pixel of class 0, second of class 1
        >>> lovasz_softmax(logits, torch.tensor([[[0, 0]]]), classes="all", reduction="none")
        tensor([[0.5000, 1.0000]])
    """
    check_flags(per_image=per_image)
    _check_options(classes, weight, ignore_index, reduction)
    logits, labels, valid = label_inputs(logits, target, ignore_index=ignore_index)
    probabilities = logits.softmax(1)
    masks = one_hot(labels, logits.shape[1], dtype=torch.bool)
    both = logits.shape[1] == 2
    if not isinstance(classes, str):
        probabilities, masks, both = chosen(probabilities, classes), chosen(masks, classes), False
    if valid is not None:
        masks = masks & valid[:, None]
    masks = by_image(masks, per_image=per_image)  # M C P
    errors = (masks.to(probabilities.dtype) - by_image(probabilities, per_image=per_image)).abs()
    counted = masks.any(-1) if classes == "present" else None
    if valid is not None:
        valid = by_image(valid, per_image=per_image)[:, None]  # M 1 P
        # A pixel of error 0 adds nothing and ranks last.
        errors = errors.masked_fill(~valid, 0)
        if counted is None:
            counted = valid.any(-1).expand(errors.shape[:2])
    weights = _weights(errors.detach(), masks, counted, both=both)
    losses = (errors * weights).sum(-1)  # M C
    if counted is not None:
        losses = losses.masked_fill(~counted, 0)
    factor = None if weight is None else by_class("weight", weight, losses.shape[1], losses)
    return reduce_images(losses, counted, reduction, weight=factor)


@torch.no_grad()
def _weights(errors: Tensor, masks: Tensor, counted: Tensor | None, *, both: bool) -> Tensor:
    """Return the weight of each error, M C P. Weights of classes that do not count are arbitrary."""
    if both:  # the only two classes: their errors are equal; the wrong class's p has more digits than 1 - p
        order = rank(errors[:, 0].where(masks[:, 1], errors[:, 1]))
        pair = [jaccard_steps(mask, order, errors.dtype) for mask in masks.unbind(1)]
        return torch.stack([in_pixel_order(steps, order) for steps in pair], 1)
    rows, row_masks = errors.flatten(0, 1), masks.flatten(0, 1)
    if counted is None or not (is_readable(counted) and is_readable(errors)):
        order = rank(rows)
        return in_pixel_order(jaccard_steps(row_masks, order, rows.dtype), order).view_as(errors)
    # Classes that do not count are not sorted, where their number can be read.
    kept = counted.flatten().nonzero()[:, 0]
    order = rank(rows[kept])
    steps = in_pixel_order(jaccard_steps(row_masks[kept], order, rows.dtype), order)
    return torch.zeros_like(rows).index_copy_(0, kept, steps).view_as(errors)


def _check_options(
    classes: Classes, weight: Sequence[float] | None, ignore_index: int | None, reduction: Reduction
) -> None:
    check_common(ignore_index, reduction)
    if isinstance(classes, str):
        check_choice("classes", classes, get_args(Present))
    else:
        check_class_subset(classes)
    check_weight(weight)


class LovaszSoftmaxLoss(nn.Module):
    """`lovasz_softmax` as a module. It takes the function's options and keeps them as attributes."""

    def __init__(
        self,
        *,
        classes: Classes = "present",
        weight: Sequence[float] | None = None,
        per_image: bool = True,
        ignore_index: int | None = None,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        check_flags(per_image=per_image)
        _check_options(classes, weight, ignore_index, reduction)
        self.classes: Classes = classes
        self.weight = weight
        self.per_image = per_image
        self.ignore_index = ignore_index
        self.reduction: Reduction = reduction

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return `lovasz_softmax` with the module's options."""
        return lovasz_softmax(
            logits,
            target,
            classes=self.classes,
            weight=self.weight,
            per_image=self.per_image,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
        )

    def extra_repr(self) -> str:
        """Return the options, for print."""
        return shown_options(self)
