"""Counting on devices without waiting for them: whole batches, and no shape that depends on a value."""

import torch
from torch import Tensor


def overlaps(pred: Tensor, target: Tensor, valid: Tensor | None) -> Tensor:
    """Count pixels of masks (M, P) in both, in the prediction, in the truth, and valid ones; int64 (M, 4)."""
    pred, target = as_salt(pred), as_salt(target)
    if valid is None:
        total = torch.full_like(pred[:, 0], pred.shape[1], dtype=torch.int64)
    else:
        pred, target, total = pred & valid, target & valid, valid.sum(1)
    return torch.stack([(pred & target).sum(1), pred.sum(1), target.sum(1), total], 1)


def confusions(pred: Tensor, target: Tensor, valid: Tensor | None, num_classes: int) -> Tensor:
    """Count valid pixels of each pair of labels (M, P), the truth first and the prediction second; int64 (M, C C)."""
    index = torch.add(pred.long(), target.long(), alpha=num_classes)
    if valid is not None:  # ignored pixels go to an extra bin
        index = index.masked_fill(~valid, num_classes**2)
    return histogram(index, num_classes**2 + 1)[:, :-1]


def histogram(index: Tensor, bins: int) -> Tensor:
    """Count how often each row of int64 (M, P) holds each of the numbers 0 to `bins` - 1; int64 (M, bins)."""
    # torch.bincount would wait for the largest number.
    counts = torch.zeros(len(index), bins, dtype=torch.int64, device=index.device)
    return counts.scatter_add(1, index, counts.new_ones(()).expand_as(index))


def as_salt(mask: Tensor) -> Tensor:
    """Return where a mask is above 0, as bool."""
    return mask > 0 if mask.dtype.is_signed else mask.bool()  # torch cannot compare uint16, uint32 and uint64
