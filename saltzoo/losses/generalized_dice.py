"""Generalised Dice loss. Sudre et al., 2017, https://arxiv.org/abs/1707.03237."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .._checks import check_finite, check_flags
from ._inputs import AnyInputs, any_inputs
from ._options import Reduction, check_common, shown_options
from ._reduce import by_image, reduce_images


def generalized_dice_loss(
    logits: Tensor,
    target: Tensor,
    *,
    smooth: float = 1.0,
    per_image: bool = True,
    ignore_index: int | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Return the generalised Dice loss, in which a rare class weighs as much as a frequent one.

    It is 1 - (2 sum(w I) + smooth) / (sum(w (P + T)) + smooth), where the sums are over the classes of an image. P is
    the sum of the probabilities of a class, T that of its mask, I that of their product, and the weight w is
    (T_min / T)^2, where T_min is the area of the rarest class that occurs; a class that does not occur has weight 1.
    The classes of a mask are salt and background; several channels are several masks. The loss is computed in float32,
    or in float64 for float64 logits.

    Args:
        logits: raw scores, (N, 1, H, W), (N, H, W) or (N, C, H, W); any floating dtype.
        target: mask of 0 and 1 in the shape of the logits, where a single channel may be left out; or labels 0 to
            C - 1, (N, H, W).
        smooth: number of pixels added to the numerator and the denominator, 0 or more.
        per_image: whether each image has its own loss; otherwise I, P and T are summed over the batch.
        ignore_index: target value of pixels that are left out.
        reduction: "mean" over images and channels that have a valid pixel; "sum"; or "none": (M,) for one mask and for
            labels, (M, C) for several channels, 0 where no pixel is valid. M is N, or 1 if not `per_image`.

    Returns:
        A scalar, (M,) or (M, C). A batch without valid pixels gives 0 with gradient 0.

    Raises:
        TypeError: if the logits are not floating point, or the target has a dtype that holds neither masks nor labels.
        ValueError: if shapes, devices, `ignore_index` or an option do not fit; on a CPU, if a target value is out of
            range.

    Example:
        >>> logits = torch.tensor([[[99.0, 99.0, -99.0]]])  # salt, salt, background
        >>> round(generalized_dice_loss(logits, torch.tensor([[[1, 0, 0]]]), smooth=0).item(), 4)  # 1 - 2.5/3.75
        0.3333
    """
    _check_options(smooth, per_image, ignore_index, reduction)
    inputs = any_inputs(logits, target, ignore_index=ignore_index)
    probabilities, masks = (by_image(x, per_image=per_image) for x in _classes_of(inputs))  # M K G P
    true, predicted = masks.sum(-1), probabilities.sum(-1)  # M K G
    intersection = (probabilities * masks).sum(-1)
    rarest = true.masked_fill(true == 0, torch.inf).amin(-1, keepdim=True)
    weight = torch.where(true == 0, 1.0, (rarest / true.clamp(min=1e-6)).square())
    right = 2 * (weight * intersection).sum(-1) + smooth  # M K
    whole = (weight * (predicted + true)).sum(-1) + smooth
    loss = 1 - right / whole.clamp(min=torch.finfo(whole.dtype).tiny)
    counted = true.sum(-1) > 0  # the classes fill an image, so that this is False only without valid pixels
    losses = reduce_images(loss.masked_fill(~counted, 0), counted, reduction)
    return losses[:, 0] if reduction == "none" and loss.shape[1] == 1 else losses


def _check_options(smooth: float, per_image: bool, ignore_index: int | None, reduction: Reduction) -> None:
    check_flags(per_image=per_image)
    check_common(ignore_index, reduction)
    check_finite(smooth=smooth)
    if smooth < 0:
        raise ValueError(f"smooth must be 0 or more, got {smooth}")


def _classes_of(inputs: AnyInputs) -> tuple[Tensor, Tensor]:
    """Return probabilities and masks N K G H W of G classes that fill an image, for each of K masks."""
    probabilities, masks = inputs.probabilities(), inputs.masks  # N C H W, 0 at pixels that do not count
    if inputs.exclusive:
        return probabilities[:, None], masks[:, None]
    valid = torch.ones_like(masks) if inputs.valid is None else inputs.valid.to(masks.dtype)
    return torch.stack([probabilities, valid - probabilities], 2), torch.stack([masks, valid - masks], 2)


class GeneralizedDiceLoss(nn.Module):
    """`generalized_dice_loss` as a module. It takes the function's options and keeps them as attributes."""

    def __init__(
        self,
        *,
        smooth: float = 1.0,
        per_image: bool = True,
        ignore_index: int | None = None,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        _check_options(smooth, per_image, ignore_index, reduction)
        self.smooth = smooth
        self.per_image = per_image
        self.ignore_index = ignore_index
        self.reduction: Reduction = reduction

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return `generalized_dice_loss` with the module's options."""
        return generalized_dice_loss(
            logits,
            target,
            smooth=self.smooth,
            per_image=self.per_image,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
        )

    def extra_repr(self) -> str:
        """Return the options, for print."""
        return shown_options(self)
