"""Counts of pixels, exact, from which every metric is made."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from . import _on_cpu, _on_device
from ._masks import Mask, Masks, read_masks

PART = 1 << 20
"""Pixels that are counted in one step on a CPU: their temporaries stay in its caches."""


class Counts(NamedTuple):
    """Pixels of each class in each image, int64 (N, K) each; only valid ones count."""

    intersection: Tensor
    pred: Tensor
    target: Tensor
    valid: Tensor

    @property
    def union(self) -> Tensor:
        """Pixels that either mask has, (N, K)."""
        return self.pred + self.target - self.intersection


def class_counts(pred_masks: Mask, target_masks: Mask, *, num_classes: int | None, ignore_index: int | None) -> Counts:
    """Counts of binary masks (K = 1), of channels, or of labels, which are those where `num_classes` is given."""
    if num_classes is None:
        return mask_counts(read_masks(pred_masks, target_masks, form="channels", ignore_index=ignore_index))
    labels = read_masks(pred_masks, target_masks, form="labels", ignore_index=ignore_index)
    matrices = confusion_counts(labels, num_classes)  # N C C
    valid = matrices.sum((1, 2))[:, None].expand(-1, num_classes)
    return Counts(matrices.diagonal(dim1=1, dim2=2), matrices.sum(1), matrices.sum(2), valid)


def mask_counts(masks: Masks) -> Counts:
    """Counts of masks (N, K, P) that are above 0 where they have a pixel."""
    count = _on_cpu.overlaps if on_cpu(masks.pred) else _on_device.overlaps
    rows = (None if mask is None else mask.flatten(0, 1) for mask in masks)
    counts = in_parts(count, *rows).unflatten(0, masks.pred.shape[:2])
    return Counts(*counts.unbind(-1))


def confusion_counts(labels: Masks, num_classes: int) -> Tensor:
    """Confusion matrix of each image, (N, C, C): rows are the truth, columns the prediction.

    Raises:
        ValueError: a valid pixel has another label than 0 to `num_classes` - 1; checked on a CPU only.
    """
    count = _on_cpu.confusions if on_cpu(labels.pred) else _on_device.confusions
    pred, target = labels.pred.squeeze(1), labels.target.squeeze(1)  # N P
    valid = None if labels.valid is None else labels.valid.squeeze(1)
    return count(pred, target, valid, num_classes).unflatten(1, (num_classes, num_classes))


def histogram(index: Tensor, bins: int) -> Tensor:
    """(M, bins) int64 of int64 (M, P): how often each row has each of the numbers 0 to `bins` - 1."""
    return (_on_cpu.histogram if on_cpu(index) else _on_device.histogram)(index, bins)


def in_parts(count: Callable[..., Tensor], *rows: Tensor | None) -> Tensor:
    """`count` over some rows of each tensor (M, P) at a time on a CPU, else over all; the results one below another."""
    first = next(row for row in rows if row is not None)
    step = max(1, PART // first.shape[1] if on_cpu(first) else len(first))
    starts = range(0, max(1, len(first)), step)  # without any row there is still a result, an empty one
    return torch.cat([count(*(None if row is None else row[i : i + step] for row in rows)) for i in starts])


def on_cpu(tensor: Tensor) -> bool:
    """Whether its values can be looked at for nothing."""
    return tensor.device.type == "cpu"
