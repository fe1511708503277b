"""Tversky loss: Dice and Jaccard with a price for each kind of error. Salehi et al., 2017, https://arxiv.org/abs/1706.05721."""

from __future__ import annotations

from torch import Tensor

from ._module import LossModule
from ._overlap import Empty, Factors, overlap_loss
from ._reduce import Reduction


def tversky_loss(
    logits: Tensor,
    target: Tensor,
    *,
    alpha: float = 0.3,
    beta: float = 0.7,
    smooth: float = 1.0,
    log: bool = False,
    per_image: bool = True,
    empty: Empty = "mean",
    ignore_index: int | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Tversky loss 1 - (I + smooth) / (I + alpha FP + beta FN + smooth), in float32 (float64 stays).

    I, FP and FN are sums of probabilities: of salt found, of false alarms, of salt missed. alpha = beta = 1/2 gives
    the Dice loss (of twice the smoothing), alpha = beta = 1 the Jaccard loss.

    Empty masks: `empty="mean"`, "smooth" or "skip" do what they do in `dice_loss`. With "mean" alpha has no say in
    them.

    Args:
        logits: as in `dice_loss`.
        target: likewise.
        alpha: price of false alarms, above 0.
        beta: price of misses, above 0; the paper found .7 to .9 best, with alpha = 1 - beta.
        smooth: added above and below, in pixels; 0 or more.
        log: -log of the overlap instead of 1 - it. Needs smooth above 0.
        per_image: one loss an image, and class; False sums over the batch.
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
        >>> target = torch.tensor([[[1, 0, 1]]])  # one found, one false alarm, one missed
        >>> round(tversky_loss(logits, target, alpha=0.5, beta=1.5, smooth=0).item(), 4)  # 1 - 1/(1 + .5 + 1.5)
        0.6667
    """
    if not (alpha > 0 and beta > 0):
        raise ValueError(f"alpha and beta must be above 0, got {alpha} and {beta}")
    return overlap_loss(
        logits,
        target,
        Factors(hit=1, false_positive=alpha, false_negative=beta),
        smooth=smooth,
        log=log,
        per_image=per_image,
        empty=empty,
        ignore_index=ignore_index,
        reduction=reduction,
    )


class TverskyLoss(LossModule, function=tversky_loss):
    """`tversky_loss` as a module; its options are those of the function."""
