"""Counting where the host would have to wait for an answer: whole batches, and no shape that depends on a value."""

import torch
from torch import Tensor


def overlaps(pred: Tensor, target: Tensor, valid: Tensor | None) -> Tensor:
    """(M, 4) int64 of masks (M, P): pixels in both, in the prediction, in the truth, and valid ones."""
    pred, target = as_salt(pred), as_salt(target)
    if valid is None:
        total = torch.full_like(pred[:, 0], pred.shape[1], dtype=torch.int64)
    else:
        pred, target, total = pred & valid, target & valid, valid.sum(1)
    return torch.stack([(pred & target).sum(1), pred.sum(1), target.sum(1), total], 1)


def confusions(pred: Tensor, target: Tensor, valid: Tensor | None, num_classes: int) -> Tensor:
    """(M, C C) int64 of labels (M, P): valid pixels of each truth and, next to each other, each prediction."""
    index = torch.add(pred.long(), target.long(), alpha=num_classes)
    if valid is not None:  # what does not count goes to a bin of its own
        index = index.masked_fill(~valid, num_classes**2)
    return histogram(index, num_classes**2 + 1)[:, :-1]


def histogram(index: Tensor, bins: int) -> Tensor:
    """(M, bins) int64 of int64 (M, P): how often each row has each of the numbers 0 to `bins` - 1."""
    # Not torch.bincount, which waits to learn the largest number.
    counts = torch.zeros(len(index), bins, dtype=torch.int64, device=index.device)
    return counts.scatter_add_(1, index, counts.new_ones(()).expand_as(index))


def as_salt(mask: Tensor) -> Tensor:
    """Bool: where a mask is above 0."""
    return mask > 0 if mask.dtype.is_signed else mask.bool()  # torch compares no uint16, uint32 or uint64
