"""Checks of the dtypes, sizes and values of logits and targets."""

from __future__ import annotations

import torch
from torch import Tensor

from .._torch import is_readable, rounding

_WIDE_UNSIGNED = (torch.uint16, torch.uint32, torch.uint64)


def check_kinds(logits: Tensor, target: Tensor) -> None:
    """Raise TypeError if the logits are not real floating point, or the target's dtype holds no mask."""
    if not logits.is_floating_point():
        raise TypeError(
            f"logits must be floating point, got {logits.dtype}: give the model's raw scores, before any threshold"
        )
    if target.is_complex() or target.dtype in _WIDE_UNSIGNED:  # torch compares neither
        raise TypeError(f"target must be bool, uint8, a signed integer or a real dtype, got {target.dtype}: convert it")


def check_pixels(logits: Tensor, target: Tensor) -> None:
    """Raise ValueError if images have no pixel, or the devices differ."""
    if 0 in logits.shape[1:]:
        raise ValueError(
            f"logits and target must hold at least one pixel an image, got {tuple(logits.shape)} and "
            f"{tuple(target.shape)}: look for a crop of size 0"
        )
    if logits.device != target.device:
        raise ValueError(
            f"logits and target must be on one device, got {logits.device} and {target.device}: move one, as in "
            f"target.to(logits.device)"
        )


def check_values(target: Tensor, high: int, hint: str) -> Tensor | None:
    """Raise ValueError if a value is below 0, or above `high` by more than rounding.

    Where values cannot be read, return where the target is wrong, bool in its shape, and otherwise None.
    """
    if target.dtype == torch.bool or target.numel() == 0:
        return None
    high_or_rounded = high + rounding(target.dtype)
    if not is_readable(target):
        return ~((target >= 0) & (target <= high_or_rounded))  # NaN is wrong too
    least, most = (bound.item() for bound in target.detach().aminmax())
    if not (least >= 0 and most <= high_or_rounded):
        raise ValueError(f"target must be 0 to {high}, got {least:.7g} to {most:.7g}: {hint}")
    return None


def check_sums(shares: Tensor, valid: Tensor | None) -> Tensor | None:
    """Raise ValueError if probabilities N C H W do not sum to 1 at a valid pixel.

    Where values cannot be read, return where they do not, N H W bool, and otherwise None.
    """
    if shares.numel() == 0:
        return None
    sums = shares.detach().sum(1)
    sums = sums if valid is None else sums.where(valid, 1)
    low, high = 0.99, 1.01  # half precision rounds them
    if not is_readable(shares):
        return ~((sums >= low) & (sums <= high))
    least, most = (bound.item() for bound in sums.aminmax())
    if least < low or most > high:
        raise ValueError(
            f"target must hold probabilities that sum to 1 at each pixel, got sums of {least:.4g} to {most:.4g}: "
            f"divide them by target.sum(1, keepdim=True), or use a loss of masks, such as bce_loss"
        )
    return None
