"""The Lovász hinge: a convex surrogate of the Jaccard loss. Berman et al., 2018, https://arxiv.org/abs/1705.08790."""

from __future__ import annotations

from typing import Literal, get_args

import torch.nn.functional as F
from torch import Tensor, nn

from .._checks import check_choice, check_flags
from ._inputs import mask_inputs
from ._options import Reduction, check_common, shown_options
from ._ranking import in_pixel_order, jaccard_steps, rank
from ._reduce import by_image, reduce_images

Margin = Literal["relu", "elu"]
MARGINS = get_args(Margin)


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
    """Return the Lovász hinge loss. It is computed in float32, or in float64 for float64 logits.

    Errors e = 1 - x (2y - 1) are ranked, largest first. The loss is the sum of margin(e) times the rise of the Jaccard
    loss at each rank. One sort serves all images, and the backward pass needs none.

    Empty masks: the plain hinge is the margin of the highest logit, so only that pixel gets a gradient. The symmetric
    form adds the mirrored problem, which looks for background. There an empty mask is full: the added loss is the mean
    margin of all pixels, and reaches each of them (with "relu", each whose logit is above -1). For a full mask the two
    terms change places.

    Args:
        logits: raw scores, (N, 1, H, W), (N, H, W) or, multilabel, (N, C, H, W), where each channel is ranked alone;
            any floating dtype.
        target: mask in the shape of the logits, where a single channel may be left out; bool, integer or float, 0 to
            1. Values above 0.5 are salt.
        margin: "relu", max(e, 0), as in the paper; or "elu", elu(e) + 1, which also pushes pixels that are right by
            more than the margin.
        per_image: whether each image has its own loss; otherwise the pixels of the batch are ranked together.
        symmetric: whether to return (L(x, y) + L(-x, 1 - y))/2; it costs no second sort.
        ignore_index: target value of pixels that are left out.
        reduction: "mean" over images that have a valid pixel, "sum", or "none": (M,), or (M, C) for several channels,
            0 for an image without valid pixels. M is N, or 1 if not `per_image`.

    Returns:
        A scalar, (M,) or (M, C). A batch without valid pixels gives 0 with gradient 0.

    Raises:
        TypeError: if the logits are not floating point, or the target has a dtype that cannot hold a mask.
        ValueError: if shapes, devices, `ignore_index` or an option do not fit; on a CPU, if the target leaves 0 to 1.

    Example:
        >>> import torch
        >>> target = torch.tensor([[[0, 1, 1]]])
        >>> logits = torch.tensor([[[-2.0, 2.0, -1.0]]])  # one of two pixels of salt missed, by 2
        >>> lovasz_hinge(logits, target).item()
        1.0
    """
    check_flags(per_image=per_image, symmetric=symmetric)
    _check_options(margin, ignore_index, reduction)
    logits, target, valid = mask_inputs(logits, target, ignore_index=ignore_index)
    logits, salt = by_image(logits, per_image=per_image), by_image(target > 0.5, per_image=per_image)  # M P or M C P
    errors = 1 - logits * (2 * salt.to(logits.dtype) - 1)
    margins = F.relu(errors) if margin == "relu" else F.elu(errors) + 1
    counted = None
    if valid is not None:
        valid = by_image(valid, per_image=per_image)
        # A pixel of margin 0 adds nothing and ranks last.
        margins, counted = margins.masked_fill(~valid, 0), valid.any(-1)
    rows = margins.detach().flatten(0, -2)  # one ranking a row
    order = rank(rows)
    steps = jaccard_steps(salt.flatten(0, -2), order, rows.dtype)
    if symmetric:  # L(-x, 1 - y) has the same errors, so the same order
        background = ~salt if valid is None else ~salt & valid
        steps = (steps + jaccard_steps(background.flatten(0, -2), order, rows.dtype)) / 2
    weights = in_pixel_order(steps, order).view_as(margins)
    return reduce_images((margins * weights).sum(-1), counted, reduction)


def _check_options(margin: Margin, ignore_index: int | None, reduction: Reduction) -> None:
    check_common(ignore_index, reduction)
    check_choice("margin", margin, MARGINS)


class LovaszHingeLoss(nn.Module):
    """`lovasz_hinge` as a module. It takes the function's options and keeps them as attributes."""

    def __init__(
        self,
        *,
        margin: Margin = "relu",
        per_image: bool = True,
        symmetric: bool = False,
        ignore_index: int | None = None,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        check_flags(per_image=per_image, symmetric=symmetric)
        _check_options(margin, ignore_index, reduction)
        self.margin: Margin = margin
        self.per_image = per_image
        self.symmetric = symmetric
        self.ignore_index = ignore_index
        self.reduction: Reduction = reduction

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return `lovasz_hinge` with the module's options."""
        return lovasz_hinge(
            logits,
            target,
            margin=self.margin,
            per_image=self.per_image,
            symmetric=self.symmetric,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
        )

    def extra_repr(self) -> str:
        """Return the options, for print."""
        return shown_options(self)
