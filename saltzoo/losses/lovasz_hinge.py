"""The Lovász hinge: a convex surrogate of the Jaccard loss. Berman et al., 2018, https://arxiv.org/abs/1705.08790."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from .._checks import check_choice
from ._inputs import mask_inputs
from ._module import LossModule
from ._ranking import in_pixel_order, jaccard_steps, rank
from ._reduce import REDUCTIONS, Reduction, by_image, reduce_images

Margin = Literal["relu", "elu"]
MARGINS = ("relu", "elu")


def lovasz_hinge(
    logits: Tensor,
    target: Tensor,
    *,
    margin: Margin = "relu",
    per_image: bool = True,
    symmetric: bool = False,
    ignore_index: int | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Lovász hinge of arXiv 1705.08790, in float32 (float64 stays).

    Errors e = 1 - x (2y - 1) are ranked, largest first; the loss is the sum of margin(e) times the rise of
    the Jaccard loss at each rank. One sort serves all images, and the backward needs none.

    Empty masks: the plain hinge is the margin of the one highest logit, so that pixel alone gets a gradient.
    The symmetric form adds the mirrored problem, in which the background is sought: it is the mean margin of
    all pixels, and reaches each of them ("relu": each whose logit is above -1). A full mask is no such case:
    there the plain hinge is that mean, and the mirrored term the single pixel.

    Args:
        logits: raw scores, (N, 1, H, W), (N, H, W) or, multilabel, (N, C, H, W), where each channel is ranked alone;
            any floating dtype.
        target: a mask in the shape of the logits, where one channel may be left out; bool, integer or float, 0 to 1.
            Above 0.5 is salt.
        margin: "relu", max(e, 0), as in the paper; "elu", elu(e) + 1, which also pushes pixels that are
            right by more than the margin.
        per_image: one loss an image; False ranks the pixels of the batch as of one image.
        symmetric: (L(x, y) + L(-x, 1 - y))/2, at the cost of the same single sort.
        ignore_index: pixels of this target value are left out.
        reduction: "mean" over images that have a valid pixel, "sum", or "none": (M,), (M, C) of several channels,
            0 for an image without valid pixels. M is N, or 1 if not `per_image`.

    Returns:
        A scalar, (M,) or (M, C). A batch without any valid pixel gives 0 with gradient 0.

    Raises:
        TypeError: logits are not floating point, or the target is of no dtype that holds a mask.
        ValueError: shapes, devices, `ignore_index` or an option do not fit; on a CPU, a target beyond 0 to 1.

    Example:
        >>> import torch
        >>> target = torch.tensor([[[0, 1, 1]]])
        >>> logits = torch.tensor([[[-2.0, 2.0, -1.0]]])  # one of two pixels of salt missed, by 2
        >>> lovasz_hinge(logits, target).item()
        1.0
    """
    check_choice("margin", margin, MARGINS)
    check_choice("reduction", reduction, REDUCTIONS)
    logits, target, valid = mask_inputs(logits, target, ignore_index=ignore_index)
    logits, salt = by_image(logits, per_image=per_image), by_image(target > 0.5, per_image=per_image)  # M P or M C P
    errors = 1 - logits * (2 * salt.to(logits.dtype) - 1)
    margins = F.relu(errors) if margin == "relu" else F.elu(errors) + 1
    counted = None
    if valid is not None:
        valid = by_image(valid, per_image=per_image)
        # Of margin 0 a pixel adds nothing, and ranks behind all that do.
        margins, counted = margins.masked_fill(~valid, 0), valid.any(-1)
    rows = margins.detach().flatten(0, -2)  # a row is a problem of its own
    order = rank(rows)
    steps = jaccard_steps(salt.flatten(0, -2), order, rows.dtype)
    if symmetric:  # -x against 1 - y has the same errors, so the same order
        background = ~salt if valid is None else ~salt & valid
        steps = (steps + jaccard_steps(background.flatten(0, -2), order, rows.dtype)) / 2
    weights = in_pixel_order(steps, order).view_as(margins)
    return reduce_images((margins * weights).sum(-1), counted, reduction)


class LovaszHingeLoss(LossModule, function=lovasz_hinge):
    """`lovasz_hinge` as a module; its options are those of the function."""
