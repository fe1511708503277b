"""The Lovász hinge: a convex surrogate of the Jaccard loss. Berman et al., 2018, https://arxiv.org/abs/1705.08790."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ._inputs import REDUCTIONS, Reduction, binary_inputs, check_choice, reduce_loss

Margin = Literal["relu", "elu"]
MARGINS = ("relu", "elu")


def _jaccard_steps(salt: Tensor, dtype: torch.dtype) -> Tensor:
    """Rise of the Jaccard loss as each pixel of a ranked list turns wrong, first rank first.

    Let k pixels lie before a pixel, and let m pixels of salt lie after it. Once it is wrong the union holds
    m + k + 1 pixels. A pixel of salt has left the intersection: the loss rises by 1/(m + k + 1). A pixel of
    background has joined the union: by m/((m + k)(m + k + 1)). Written so, and not as a difference of
    neighbouring Jaccard losses, no digits cancel.

    Args:
        salt: (M, P) bool.
        dtype: of the result, (M, P).
    """
    # Counts are integers, which stay exact where float32 stops at 2**24.
    seen = salt.cumsum(1, dtype=torch.int32)  # M P
    after = (seen[:, -1:] - seen).to(dtype)
    before = torch.arange(salt.shape[1], dtype=dtype, device=salt.device)
    others = after + before
    # Both cases in one line of arithmetic: torch.where takes four times as long on a CPU.
    steps = (after + salt.to(dtype) * before) / (others * (others + 1))
    steps[:, 0] = 1 / (after[:, 0] + 1)  # equal, but for a mask without salt, where the line above is 0/0
    return steps


@torch.no_grad()
def _weights(margins: Tensor, salt: Tensor, valid: Tensor | None, *, symmetric: bool) -> Tensor:
    """Weight of each pixel, (M, P), in pixel order: constants, since they depend on ranks alone."""
    # Floats from 0 up are ordered as their bits are, and integers sort 1.5 times as fast on a CPU.
    key = margins.view(torch.int64 if margins.dtype == torch.float64 else torch.int32)
    order = key.argsort(dim=1, descending=True)
    steps = _jaccard_steps(salt.gather(1, order), margins.dtype)
    if symmetric:  # -x against 1 - y has the same errors, so the same order
        background = ~salt if valid is None else ~salt & valid
        steps = (steps + _jaccard_steps(background.gather(1, order), margins.dtype)) / 2
    return torch.empty_like(steps).scatter_(1, order, steps)


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
        logits: raw scores, (N, 1, H, W) or (N, H, W), any floating dtype.
        target: (N, H, W) or (N, 1, H, W); bool, integer or float. Above 0.5 is salt.
        margin: "relu", max(e, 0), as in the paper; "elu", elu(e) + 1, which also pushes pixels that are
            right by more than the margin.
        per_image: one loss an image; False ranks the pixels of the batch as of one image.
        symmetric: (L(x, y) + L(-x, 1 - y))/2, at the cost of the same single sort.
        ignore_index: pixels of this target value are left out.
        reduction: "mean" over images that have a valid pixel, "sum", or "none": (N,), or (1,) if not
            `per_image`, 0 for an image without valid pixels.

    Returns:
        A scalar, (N,) or (1,). A batch without any valid pixel gives 0 with gradient 0.

    Raises:
        TypeError: logits are not floating point, or the target is complex.
        ValueError: shapes, devices, `ignore_index`, `reduction` or `margin` do not fit.

    Example:
        >>> import torch
        >>> target = torch.tensor([[[0, 1, 1]]])
        >>> logits = torch.tensor([[[-2.0, 2.0, -1.0]]])  # one of two pixels of salt missed, by 2
        >>> lovasz_hinge(logits, target).item()
        1.0
    """
    check_choice("margin", margin, MARGINS)
    check_choice("reduction", reduction, REDUCTIONS)
    logits, target, valid = binary_inputs(logits, target, ignore_index=ignore_index)
    shape = (len(logits) if per_image else 1, -1)
    logits, salt = logits.reshape(shape), target.reshape(shape) > 0.5  # M P, M rankings of P pixels
    errors = 1 - logits * (2 * salt.to(logits.dtype) - 1)
    margins = F.relu(errors) if margin == "relu" else F.elu(errors) + 1
    images = None
    if valid is not None:
        valid = valid.reshape(shape)
        # Of margin 0 a pixel adds nothing, and ranks behind all that do.
        salt, margins = salt & valid, margins.masked_fill(~valid, 0)
        images = valid.any(1)
    weights = _weights(margins, salt, valid, symmetric=symmetric)
    return reduce_loss((margins * weights).sum(1), images, reduction)


class LovaszHingeLoss(nn.Module):
    """`lovasz_hinge` as a module; its options are those of the function."""

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
        check_choice("margin", margin, MARGINS)
        check_choice("reduction", reduction, REDUCTIONS)
        self.margin: Margin = margin
        self.per_image = per_image
        self.symmetric = symmetric
        self.ignore_index = ignore_index
        self.reduction: Reduction = reduction

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return `lovasz_hinge(logits, target)` with the module's options."""
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
        """Options, for print."""
        return (
            f"margin={self.margin!r}, per_image={self.per_image}, symmetric={self.symmetric}, "
            f"ignore_index={self.ignore_index}, reduction={self.reduction!r}"
        )
