"""Soft Jaccard loss, of intersection over union. Rahman and Wang, 2016, https://doi.org/10.1007/978-3-319-50835-1_22."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ._options import Reduction
from ._overlap import JACCARD, Empty, Factors, overlap_loss
from ._overlap_module import OverlapLoss


def jaccard_loss(
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
    """Return the soft Jaccard loss 1 - (I + smooth) / (P + T - I + smooth).

    P is the sum of the probabilities, T that of the mask, and I that of their product. The loss is computed in
    float32, or in float64 for float64 logits. `empty` treats empty masks as in `dice_loss`.

    Args:
        logits: raw scores, (N, 1, H, W), (N, H, W) or (N, C, H, W), see `dice_loss`.
        target: mask or labels, see `dice_loss`.
        smooth: number of pixels added to the numerator and the denominator, 0 or more.
        log: whether to return -log of the overlap instead of 1 - overlap. It needs smooth above 0.
        per_image: whether each image and class has its own loss; otherwise the batch has one for each class.
        empty: treatment of empty masks, see `dice_loss`.
        classes: classes or channels that count, see `dice_loss`.
        weight: factor of the loss of each class that counts, see `dice_loss`.
        ignore_index: target value of pixels that are left out.
        reduction: "mean", "sum" or "none", see `dice_loss`.

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
        >>> round(jaccard_loss(logits, torch.tensor([[[1, 0, 1]]]), smooth=0).item(), 4)  # 1 - 1/3
        0.6667
    """
    return overlap_loss(
        logits,
        target,
        JACCARD,
        smooth=smooth,
        log=log,
        per_image=per_image,
        empty=empty,
        classes=classes,
        weight=weight,
        ignore_index=ignore_index,
        reduction=reduction,
    )


class JaccardLoss(OverlapLoss):
    """`jaccard_loss` as a module. It takes the function's options and keeps them as attributes."""

    def _factors(self) -> Factors:
        return JACCARD
