"""Soft Jaccard loss, of intersection over union. Rahman and Wang, 2016, https://doi.org/10.1007/978-3-319-50835-1_22."""

from __future__ import annotations

from torch import Tensor

from ._module import LossModule
from ._overlap import Empty, Factors, overlap_loss
from ._reduce import Reduction

_FACTORS = Factors(hit=1, false_positive=1, false_negative=1)


def jaccard_loss(
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
    """Soft Jaccard loss 1 - (I + smooth) / (P + T - I + smooth), in float32 (float64 stays).

    P and T are the sums of probabilities and of the mask, I that of their product.

    Empty masks: `empty="mean"`, "smooth" or "skip" do what they do in `dice_loss`.

    Args:
        logits: as in `dice_loss`.
        target: likewise.
        smooth: added above and below, in pixels; 0 or more.
        log: -log of the overlap instead of 1 - it. Needs smooth above 0.
        per_image: one loss an image, and class; False sums I, P and T over the batch.
        empty: what an empty mask gives.
        ignore_index: pixels of this target value are left out.
        reduction: as in `dice_loss`.

    Returns:
        A scalar, (M,) or (M, C). A batch in which nothing counts gives 0 with gradient 0.

    Raises:
        TypeError: logits are not floating point, or the target is of no dtype that holds masks or labels.
        ValueError: shapes, devices, `ignore_index` or an option do not fit; on a CPU, a target out of range.

    Example:
        >>> import torch
        >>> logits = torch.tensor([[[99.0, 99.0, -99.0]]])  # salt, salt, background
        >>> round(jaccard_loss(logits, torch.tensor([[[1, 0, 1]]]), smooth=0).item(), 4)  # 1 - 1/3
        0.6667
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


class JaccardLoss(LossModule, function=jaccard_loss):
    """`jaccard_loss` as a module; its options are those of the function."""
