"""Tversky loss: Dice and Jaccard with a weight for each kind of error. Salehi et al., 2017, https://arxiv.org/abs/1706.05721."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from .._checks import check_finite
from ._options import Reduction
from ._overlap import Empty, Factors, overlap_loss
from ._overlap_module import OverlapLoss


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
    classes: Sequence[int] | None = None,
    weight: Sequence[float] | None = None,
    ignore_index: int | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Return the Tversky loss 1 - (I + smooth) / (I + alpha FP + beta FN + smooth).

    I, FP and FN are sums of probabilities: of salt found, of false alarms, of salt missed. alpha = beta = 1/2 gives
    the Dice loss with twice the smoothing, alpha = beta = 1 the Jaccard loss. The loss is computed in float32, or in
    float64 for float64 logits. `empty` treats empty masks as in `dice_loss`; with "mean", alpha does not matter for
    them.

    Args:
        logits: raw scores, (N, 1, H, W), (N, H, W) or (N, C, H, W), see `dice_loss`.
        target: mask or labels, see `dice_loss`.
        alpha: weight of false alarms, above 0.
        beta: weight of misses, above 0; the paper found .7 to .9 best, with alpha = 1 - beta.
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
        >>> target = torch.tensor([[[1, 0, 1]]])  # one found, one false alarm, one missed
        >>> round(tversky_loss(logits, target, alpha=0.5, beta=1.5, smooth=0).item(), 4)  # 1 - 1/(1 + .5 + 1.5)
        0.6667
    """
    return overlap_loss(
        logits,
        target,
        _factors(alpha, beta),
        smooth=smooth,
        log=log,
        per_image=per_image,
        empty=empty,
        classes=classes,
        weight=weight,
        ignore_index=ignore_index,
        reduction=reduction,
    )


def _factors(alpha: float, beta: float) -> Factors:
    check_finite(alpha=alpha, beta=beta)
    if not (alpha > 0 and beta > 0):
        raise ValueError(f"alpha and beta must be above 0, got {alpha} and {beta}")
    return Factors(hit=1, false_positive=alpha, false_negative=beta)


class TverskyLoss(OverlapLoss):
    """`tversky_loss` as a module. It takes the function's options and keeps them as attributes."""

    def __init__(
        self,
        *,
        alpha: float = 0.3,
        beta: float = 0.7,
        smooth: float = 1.0,
        log: bool = False,
        per_image: bool = True,
        empty: Empty = "mean",
        classes: Sequence[int] | None = None,
        weight: Sequence[float] | None = None,
        ignore_index: int | None = None,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__(
            smooth=smooth,
            log=log,
            per_image=per_image,
            empty=empty,
            classes=classes,
            weight=weight,
            ignore_index=ignore_index,
            reduction=reduction,
        )
        _factors(alpha, beta)
        self.alpha: float = alpha
        self.beta: float = beta

    def _factors(self) -> Factors:
        return _factors(self.alpha, self.beta)
