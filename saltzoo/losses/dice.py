"""Soft Dice loss. Milletari et al., V-Net, 2016, https://arxiv.org/abs/1606.04797."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ._options import Reduction
from ._overlap import DICE, Empty, Factors, overlap_loss
from ._overlap_module import OverlapLoss


def dice_loss(
    logits: Tensor,
    target: Tensor,
    *,
    smooth: float = 1.0,
    log: bool = False,
    per_image: bool = True,
    empty: Empty = "mean",
    classes: Sequence[int] | None = None,
    weight: Sequence[float] | None = None,
    ignore_index: int | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Return the soft Dice loss 1 - (2 I + smooth) / (P + T + smooth).

    P is the sum of the probabilities, T that of the mask, and I that of their product. Probabilities are sigmoids of
    a mask's logits or the softmax of the classes' logits; each class is then one mask. The loss is computed in
    float32, or in float64 for float64 logits.

    An empty mask has I = 0 whatever is predicted. `empty` chooses its loss:

    - "mean": P / (V + smooth) with V valid pixels, which is about the mean probability. Each pixel gets the gradient
      that the mean would give it, and an image without false alarms has loss 0.
    - "smooth": the formula as it stands, P / (P + smooth). Its gradient falls with the square of P, so an untrained
      network hardly learns from empty masks, and not at all without smoothing.
    - "skip": none; the mask is left out of sum and mean, like a class that is absent from the image.

    Args:
        logits: raw scores, (N, 1, H, W), (N, H, W) or (N, C, H, W); any floating dtype.
        target: mask of 0 and 1 in the shape of the logits, where a single channel may be left out; or labels 0 to
            C - 1, (N, H, W). Values between 0 and 1 are allowed, but then the loss is not smallest where prediction
            and target are equal.
        smooth: number of pixels added to the numerator and the denominator, 0 or more.
        log: whether to return -log of the overlap instead of 1 - overlap, which is steeper for small overlaps. It
            needs smooth above 0.
        per_image: whether each image and class has its own loss; otherwise I, P and T are summed over the batch.
        empty: treatment of empty masks, see above.
        classes: classes or channels that count, such as [1, 2] for all but the background; None for all. Each pixel's
            softmax is over all classes.
        weight: factor of the loss of each class that counts, 0 or more. The mean over classes is then over weights.
        ignore_index: target value of pixels that are left out.
        reduction: "mean" over the classes of an image, then over images that have a valid pixel; "sum"; or "none":
            (M,) for masks and (M, C) for several channels or classes, 0 where nothing counts. M is N, or 1 if not
            `per_image`.

    Returns:
        A scalar, (M,) or (M, C), where C is the number of classes that count. A batch in which nothing counts gives 0
        with gradient 0.

    Raises:
        TypeError: if the logits are not floating point, or the target has a dtype that holds neither masks nor labels.
        ValueError: if shapes, devices, `ignore_index` or an option do not fit; on a CPU, if a target value is out of
            range.

    Example:
        >>> import torch
        >>> logits = torch.tensor([[[99.0, 99.0, -99.0]]])  # salt, salt, background
        >>> round(dice_loss(logits, torch.tensor([[[1, 0, 1]]]), smooth=0).item(), 4)  # 1 - 2/4
        0.5
    """
    return overlap_loss(
        logits,
        target,
        DICE,
        smooth=smooth,
        log=log,
        per_image=per_image,
        empty=empty,
        classes=classes,
        weight=weight,
        ignore_index=ignore_index,
        reduction=reduction,
    )


class DiceLoss(OverlapLoss):
    """`dice_loss` as a module. It takes the function's options and keeps them as attributes."""

    def _factors(self) -> Factors:
        return DICE
