"""Focal loss: cross-entropy that fades where a pixel is right. Lin et al., 2017, https://arxiv.org/abs/1708.02002."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .._checks import check_finite
from ._classes import by_class, check_weight
from ._inputs import are_labels, label_inputs, mask_inputs
from ._options import Reduction, check_common, shown_options
from ._reduce import reduce_pixels, reduce_weighted


def focal_loss(
    logits: Tensor,
    target: Tensor,
    *,
    gamma: float = 2.0,
    alpha: float | None = None,
    weight: Sequence[float] | None = None,
    ignore_index: int | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Return the focal loss -(1 - p)^gamma log(p) in nats, where p is the probability given to the truth.

    With `gamma=0` it is the cross-entropy: `bce_loss` for masks, `ce_loss` for labels. Both factors are computed from
    logarithms, so value and gradient stay finite where p is 0 or 1, for any gamma. The loss is computed in float32, or
    in float64 for float64 logits.

    An empty mask is treated like any other: each of its pixels gets a gradient, which is smaller for pixels that are
    right with more certainty.

    Args:
        logits: raw scores, (N, 1, H, W), (N, H, W) or (N, C, H, W); any floating dtype.
        target: mask of 0 and 1 in the shape of the logits, where a single channel may be left out; or labels 0 to
            C - 1, (N, H, W). A value between 0 and 1 mixes the losses of salt and background.
        gamma: exponent, 0 or more; the higher, the less a pixel that is right matters.
        alpha: factor of the loss of salt, 0 to 1; that of background is 1 - alpha. None for no factors. Masks only.
        weight: factor of the loss of each class or channel, a list of numbers of 0 or more. The mean is then over the
            weights of the pixels, as in `ce_loss`.
        ignore_index: target value of pixels that are left out of the loss and of its mean.
        reduction: "mean" over valid pixels, "sum", or "none": the target's shape, 0 at ignored pixels.

    Returns:
        A scalar, or one loss a pixel. A batch without valid pixels gives 0 with gradient 0.

    Raises:
        TypeError: if the logits are not floating point, or the target has a dtype that holds neither masks nor labels.
        ValueError: if shapes, devices, `ignore_index` or an option do not fit; on a CPU, if a target value is out of
            range.

    Example:
        >>> round(focal_loss(torch.zeros(1, 1, 2, 2), torch.ones(1, 2, 2)).item(), 4)  # (1/2)^2 log 2
        0.1733
    """
    _check_options(gamma, alpha, weight, ignore_index, reduction)
    if are_labels(logits, target):
        if alpha is not None:
            raise ValueError(
                f"alpha={alpha} weights salt against background, but the target holds labels: use alpha=None"
            )
        logits, labels, valid = label_inputs(logits, target, ignore_index=ignore_index)
        loss = _focal_of_labels(logits, labels, gamma)
        weights = None if weight is None else by_class("weight", weight, logits.shape[1], logits)[labels]
    else:
        logits, masks, valid = mask_inputs(logits, target, ignore_index=ignore_index)
        loss = _focal_of_masks(logits, masks.to(logits.dtype), gamma, alpha)
        weights = None if weight is None else _by_channel(weight, logits)
    if valid is not None:
        loss = loss.masked_fill(~valid, 0)
    return (
        reduce_pixels(loss, valid, reduction) if weights is None else reduce_weighted(loss, weights, valid, reduction)
    )


def _by_channel(weight: Sequence[float], logits: Tensor) -> Tensor:
    weights = by_class("weight", weight, logits.shape[1] if logits.ndim == 4 else 1, logits)
    return weights[:, None, None].expand(logits.shape)


def _check_options(
    gamma: float,
    alpha: float | None,
    weight: Sequence[float] | None,
    ignore_index: int | None,
    reduction: Reduction,
) -> None:
    check_common(ignore_index, reduction)
    check_weight(weight)
    check_finite(gamma=gamma)
    if gamma < 0:
        raise ValueError(f"gamma must be 0 or more, got {gamma}")
    if alpha is not None:
        check_finite(alpha=alpha)
        if not 0 <= alpha <= 1:
            raise ValueError(f"alpha must be 0 to 1, or None, got {alpha}")


def _focal_of_masks(logits: Tensor, masks: Tensor, gamma: float, alpha: float | None) -> Tensor:
    yes, no = F.logsigmoid(logits), F.logsigmoid(-logits)  # log p of salt, and of background
    salt, background = -yes * torch.exp(gamma * no), -no * torch.exp(gamma * yes)
    if alpha is not None:
        salt, background = alpha * salt, (1 - alpha) * background
    return masks * salt + (1 - masks) * background


def _focal_of_labels(logits: Tensor, labels: Tensor, gamma: float) -> Tensor:
    chosen = labels[:, None]  # N 1 H W
    logits = logits - logits.detach().amax(1, keepdim=True)  # a common offset would cost precision
    # Margin of the truth over all other classes together; the truth's probability is its sigmoid.
    lead = logits.gather(1, chosen)[:, 0] - logits.scatter(1, chosen, -torch.inf).logsumexp(1)  # N H W
    return -F.logsigmoid(lead) * torch.exp(gamma * F.logsigmoid(-lead))


class FocalLoss(nn.Module):
    """`focal_loss` as a module. It takes the function's options and keeps them as attributes."""

    def __init__(
        self,
        *,
        gamma: float = 2.0,
        alpha: float | None = None,
        weight: Sequence[float] | None = None,
        ignore_index: int | None = None,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        _check_options(gamma, alpha, weight, ignore_index, reduction)
        self.gamma = gamma
        self.alpha = alpha
        self.weight = weight
        self.ignore_index = ignore_index
        self.reduction: Reduction = reduction

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return `focal_loss` with the module's options."""
        return focal_loss(
            logits,
            target,
            gamma=self.gamma,
            alpha=self.alpha,
            weight=self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
        )

    def extra_repr(self) -> str:
        """Return the options, for print."""
        return shown_options(self)
