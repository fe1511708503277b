"""Bootstrapped cross-entropy: the mean over the hardest pixels.

Wu, Shen and van den Hengel, 2016, https://arxiv.org/abs/1605.06885; FRRN, https://arxiv.org/abs/1611.08323.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .._checks import check_finite
from ._inputs import label_inputs, mask_inputs
from ._options import Reduction, check_common, shown_options
from ._reduce import by_image, reduce_images
from .bce import bce_of
from .ce import ce_of

FRRN_K = 512 * 64


def bootstrapped_bce(
    logits: Tensor,
    target: Tensor,
    *,
    k: float = FRRN_K,
    ignore_index: int | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Return the mean binary cross-entropy of the k hardest pixels of each image, in nats.

    It is computed in float32, or in float64 for float64 logits. An empty mask is treated like any other: the pixels
    that look most like salt get a gradient.

    Args:
        logits: raw scores, (N, 1, H, W), (N, H, W) or, multilabel, (N, C, H, W), where each channel has its own k
            hardest pixels; any floating dtype.
        target: 0 or 1, or a probability of salt, in the shape of the logits; a single channel may be left out.
        k: number of pixels or, below 1, share of an image's valid pixels. FRRN's 512 * 64 are a sixteenth of its
            images. A tile of 101 x 101 has fewer pixels than that, so the mean is over all of them.
        ignore_index: target value of pixels that are left out.
        reduction: "mean" over images that have a valid pixel, "sum", or "none": (N,) or (N, C).

    Returns:
        A scalar, (N,) or (N, C). A batch without valid pixels gives 0 with gradient 0.

    Raises:
        TypeError: if the logits are not floating point, or the target has a dtype that cannot hold a mask.
        ValueError: if shapes, devices, `ignore_index` or an option do not fit; on a CPU, if the target leaves 0 to 1.

    Example:
        >>> logits = torch.tensor([[[0.0, -99.0, -99.0, -99.0]]])
        >>> round(bootstrapped_bce(logits, torch.zeros(1, 1, 4), k=2).item(), 4)  # (log 2 + 0)/2
        0.3466
    """
    _check_options(k, ignore_index, reduction)
    inputs = mask_inputs(logits, target, ignore_index=ignore_index)
    return _hardest(bce_of(inputs, reduction="none"), inputs.valid, k, reduction)


def bootstrapped_ce(
    logits: Tensor,
    target: Tensor,
    *,
    k: float = FRRN_K,
    ignore_index: int | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Return the mean cross-entropy of the k hardest pixels of each image, in nats.

    It is computed in float32, or in float64 for float64 logits. An empty mask, all of it background, is treated like
    any other.

    Args:
        logits: raw scores, (N, C, H, W), any floating dtype; C is 2 or more.
        target: labels 0 to C - 1, (N, H, W).
        k: number of pixels or, below 1, share of an image's valid pixels, see `bootstrapped_bce`.
        ignore_index: label of pixels that are left out.
        reduction: "mean" over images that have a valid pixel, "sum", or "none": (N,).

    Returns:
        A scalar, or (N,). A batch without valid pixels gives 0 with gradient 0.

    Raises:
        TypeError: if the logits are not floating point, or the labels are not integers.
        ValueError: if shapes, devices, `ignore_index` or an option do not fit; on a CPU, if a label leaves 0 to C - 1.

    Example:
        >>> logits = torch.tensor([[[[0.0, 99.0]], [[0.0, 0.0]]]])
        >>> round(bootstrapped_ce(logits, torch.zeros(1, 1, 2).long(), k=1).item(), 4)
        0.6931
    """
    _check_options(k, ignore_index, reduction)
    inputs = label_inputs(logits, target, ignore_index=ignore_index)
    return _hardest(ce_of(inputs, reduction="none"), inputs.valid, k, reduction)


def _check_options(k: float, ignore_index: int | None, reduction: Reduction) -> None:
    check_common(ignore_index, reduction)
    check_finite(k=k)
    if not (0 < k < 1 or (isinstance(k, int) and k >= 1)):
        raise ValueError(
            f"k must be a whole number of pixels, such as {FRRN_K}, or a share above 0 and below 1, got {k!r}"
        )


def _hardest(pixels: Tensor, valid: Tensor | None, k: float, reduction: Reduction) -> Tensor:
    losses = by_image(pixels, per_image=True)  # N P or N C P
    size = losses.shape[-1]
    most = min(int(k), size) if k >= 1 else max(1, round(k * size))
    hardest = losses if k >= size else losses.topk(most).values  # no need to sort if all pixels count
    if valid is None:
        return reduce_images(hardest.mean(-1), None, reduction)
    sizes = by_image(valid, per_image=True).sum(-1)  # N or N C
    if k >= 1:  # ignored pixels have loss 0 and rank last
        kept = sizes.clamp(1, most)
    else:  # in float64 as above: in float32 the product may round to another whole number
        kept = (k * sizes.double()).round().clamp(1, most).long()
        hardest = hardest.where(torch.arange(most, device=pixels.device) < kept[..., None], 0)
    return reduce_images(hardest.sum(-1) / kept, sizes > 0, reduction)


class BootstrappedBCELoss(nn.Module):
    """`bootstrapped_bce` as a module. It takes the function's options and keeps them as attributes."""

    def __init__(self, *, k: float = FRRN_K, ignore_index: int | None = None, reduction: Reduction = "mean") -> None:
        super().__init__()
        _check_options(k, ignore_index, reduction)
        self.k = k
        self.ignore_index = ignore_index
        self.reduction: Reduction = reduction

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return `bootstrapped_bce` with the module's options."""
        return bootstrapped_bce(logits, target, k=self.k, ignore_index=self.ignore_index, reduction=self.reduction)

    def extra_repr(self) -> str:
        """Return the options, for print."""
        return shown_options(self)


class BootstrappedCELoss(nn.Module):
    """`bootstrapped_ce` as a module. It takes the function's options and keeps them as attributes."""

    def __init__(self, *, k: float = FRRN_K, ignore_index: int | None = None, reduction: Reduction = "mean") -> None:
        super().__init__()
        _check_options(k, ignore_index, reduction)
        self.k = k
        self.ignore_index = ignore_index
        self.reduction: Reduction = reduction

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return `bootstrapped_ce` with the module's options."""
        return bootstrapped_ce(logits, target, k=self.k, ignore_index=self.ignore_index, reduction=self.reduction)

    def extra_repr(self) -> str:
        """Return the options, for print."""
        return shown_options(self)
