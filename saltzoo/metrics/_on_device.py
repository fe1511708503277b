"""Counting on devices without waiting for them: whole batches, and no shape that depends on a value."""

import torch
from torch import Tensor

OUT_OF_RANGE = -(1 << 42)
"""Count of an image with a label out of range. Its sum with the counts of other images stays negative.

Only 2**42 pixels of other images, or 2**21 such images, would hide it.
"""


def overlaps(pred: Tensor, target: Tensor, valid: Tensor | None) -> Tensor:
    """Count pixels of masks (M, P) in both, in the prediction, in the truth, and valid ones; int64 (M, 4)."""
    pred, target = as_salt(pred), as_salt(target)
    if valid is None:
        total = torch.full_like(pred[:, 0], pred.shape[1], dtype=torch.int64)
    else:
        pred, target, total = pred & valid, target & valid, valid.sum(1)
    return torch.stack([(pred & target).sum(1), pred.sum(1), target.sum(1), total], 1)


def confusions(pred: Tensor, target: Tensor, valid: Tensor | None, num_classes: int) -> Tensor:
    """Count valid pixels of each pair of labels (M, P), the truth first and the prediction second; int64 (M, C C).

    All counts of an image with a label out of range are OUT_OF_RANGE.
    """
    pred, target = pred.long(), target.long()
    out = out_of_range(pred, target, valid, num_classes)
    index = torch.add(pred, target, alpha=num_classes)
    index = index.masked_fill(out if valid is None else out | ~valid, num_classes**2)  # an extra bin
    return histogram(index, num_classes**2 + 1)[:, :-1].masked_fill(out.any(1, keepdim=True), OUT_OF_RANGE)


def out_of_range(pred: Tensor, target: Tensor, valid: Tensor | None, num_classes: int) -> Tensor:
    """Return the valid pixels at which a label, int64, is not 0 to `num_classes` - 1."""
    out = (torch.minimum(pred, target) < 0) | (torch.maximum(pred, target) >= num_classes)
    return out if valid is None else out & valid


def histogram(index: Tensor, bins: int) -> Tensor:
    """Count how often each row of int64 (M, P) holds each of the numbers 0 to `bins` - 1; int64 (M, bins)."""
    # torch.bincount would wait for the largest number.
    counts = torch.zeros(len(index), bins, dtype=torch.int64, device=index.device)
    return counts.scatter_add(1, index, counts.new_ones(()).expand_as(index))


def as_salt(mask: Tensor) -> Tensor:
    """Return where a mask is above 0, as bool."""
    return mask > 0 if mask.dtype.is_signed else mask.bool()  # torch cannot compare uint16, uint32 and uint64
