"""Soft Dice loss. Milletari et al., V-Net, 2016, https://arxiv.org/abs/1606.04797."""

from __future__ import annotations

from torch import Tensor

from ._module import LossModule
from ._overlap import Empty, Factors, overlap_loss
from ._reduce import Reduction

_FACTORS = Factors(hit=2, false_positive=1, false_negative=1)


def dice_loss(
    logits: Tensor,
    target: Tensor,
    *,
    smooth: float = 1.0,
    log: bool = False,
    per_image: bool = True,
    empty: Empty = "mean",
    ignore_index: int | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Soft Dice loss 1 - (2 I + smooth) / (P + T + smooth), in float32 (float64 stays).

    P and T are the sums of probabilities and of the mask, I that of their product. Probabilities are sigmoids of
    masks' logits, and the softmax of classes' logits; each class is a mask then.

    Empty masks, which leave I at 0 whatever is predicted:

    - `empty="mean"`: the loss is P / (V + smooth) with V valid pixels, about the mean probability. Each pixel gets the
      gradient that the mean would give it, and an image without a false alarm costs nothing.
    - `empty="smooth"`: the formula as it stands, P / (P + smooth). Its gradient falls with the square of P, so an
      untrained net hardly learns of empty masks; without smoothing it would learn nothing.
    - `empty="skip"`: left out of sum and mean, as a class that is not in the image.

    Args:
        logits: raw scores, (N, 1, H, W), (N, H, W), or (N, C, H, W); any floating dtype.
        target: a mask of 0 and 1 in the shape of the logits, where one channel may be left out; or labels 0 to C - 1,
            (N, H, W). A share of salt between 0 and 1 is taken, but then the loss is not least where both are equal.
        smooth: added above and below, in pixels; 0 or more.
        log: -log of the overlap instead of 1 - it: the less they overlap, the steeper. Needs smooth above 0.
        per_image: one loss an image, and class; False sums I, P and T over the batch.
        empty: what an empty mask gives, see above.
        ignore_index: pixels of this target value are left out.
        reduction: "mean" over the classes of an image, then over images that have a valid pixel; "sum"; or "none":
            (M,) of masks, (M, C) of several channels or classes, 0 where nothing counts. M is N, or 1 if not
            `per_image`.

    Returns:
        A scalar, (M,) or (M, C). A batch in which nothing counts gives 0 with gradient 0.

    Raises:
        TypeError: logits are not floating point, or the target is of no dtype that holds masks or labels.
        ValueError: shapes, devices, `ignore_index` or an option do not fit; on a CPU, a target out of range.

    Example:
        >>> import torch
        >>> logits = torch.tensor([[[99.0, 99.0, -99.0]]])  # salt, salt, background
        >>> round(dice_loss(logits, torch.tensor([[[1, 0, 1]]]), smooth=0).item(), 4)  # 1 - 2/4
        0.5
    """
    return overlap_loss(
        logits,
        target,
        _FACTORS,
        smooth=smooth,
        log=log,
        per_image=per_image,
        empty=empty,
        ignore_index=ignore_index,
        reduction=reduction,
    )


class DiceLoss(LossModule, function=dice_loss):
    """`dice_loss` as a module; its options are those of the function."""
