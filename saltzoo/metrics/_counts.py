"""Exact counts of pixels, on which all metrics rest."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .._checks import check_class_subset
from .._torch import is_readable
from . import _on_cpu, _on_device
from ._masks import Mask, Masks, read_masks

PART = 1 << 20
"""Number of pixels counted in one step on a CPU, small enough for its caches."""


class Counts(NamedTuple):
    """Numbers of valid pixels of each class in each image, int64 (N, K) each.

    If a label is out of range where values cannot be read, `valid` is negative, and the others are arbitrary.
    """

    intersection: Tensor
    pred: Tensor
    target: Tensor
    valid: Tensor

    @property
    def union(self) -> Tensor:
        """Pixels that are in either mask, (N, K)."""
        return self.pred + self.target - self.intersection

    def over_images(self) -> "Counts":
        """Return the counts over all images, (K,) each."""
        return Counts(*(part.sum(0) for part in self))

    def scored(self, empty: str) -> "Counts":
        """Return no pixel of a class in the images whose truth does not have it, if `empty` is "present"."""
        if empty != "present":
            return self
        there = (self.target > 0) | (self.valid < 0)
        return Counts(*(part * there for part in self))


def class_counts(
    pred_masks: Mask,
    target_masks: Mask,
    *,
    num_classes: int | None,
    classes: Sequence[int] | None = None,
    ignore_index: int | None,
) -> Counts:
    """Count binary masks (K = 1), channels, or labels if `num_classes` is given; of some classes, or all.

    Raises:
        ValueError: if there is no channel of one of the classes.
    """
    counts = _all_counts(pred_masks, target_masks, num_classes, ignore_index)
    if classes is None:
        return counts
    check_class_subset(classes, counts.valid.shape[1])
    # An index made from a list would be copied to the device, and the host would wait.
    return Counts(*(torch.stack([part[:, c] for c in classes], 1) for part in counts))


def _all_counts(pred_masks: Mask, target_masks: Mask, num_classes: int | None, ignore_index: int | None) -> Counts:
    if num_classes is None:
        return mask_counts(read_masks(pred_masks, target_masks, form="channels", ignore_index=ignore_index))
    labels = read_masks(pred_masks, target_masks, form="labels", ignore_index=ignore_index)
    matrices = confusion_counts(labels, num_classes)  # N C C
    valid = matrices.sum((1, 2)).clamp(min=_on_device.OUT_OF_RANGE)[:, None].expand(-1, num_classes)
    return Counts(matrices.diagonal(dim1=1, dim2=2), matrices.sum(1), matrices.sum(2), valid)


def mask_counts(masks: Masks) -> Counts:
    """Count masks (N, K, P), which have a pixel where they are above 0."""
    count = _on_cpu.overlaps if on_cpu(*masks) else _on_device.overlaps
    rows = (None if mask is None else mask.flatten(0, 1) for mask in masks)
    counts = in_parts(count, *rows).unflatten(0, masks.pred.shape[:2])
    return Counts(*counts.unbind(-1))


def confusion_counts(labels: Masks, num_classes: int) -> Tensor:
    """Return the confusion matrix of each image, (N, C, C): rows are the truth, columns the prediction.

    Raises:
        ValueError: if the label of a valid pixel is not 0 to `num_classes` - 1, where values can be read. Elsewhere the
            counts of that image are negative.
    """
    count = _on_cpu.confusions if on_cpu(*labels) else _on_device.confusions
    pred, target = labels.pred.squeeze(1), labels.target.squeeze(1)  # N P
    valid = None if labels.valid is None else labels.valid.squeeze(1)
    return count(pred, target, valid, num_classes).unflatten(1, (num_classes, num_classes))


def nan_if_out_of_range(score: Tensor, valid: Tensor) -> Tensor:
    """Return NaN in place of a score if the numbers of valid pixels tell that a label is out of range."""
    return score.masked_fill((valid < 0).any(), torch.nan)


def histogram(index: Tensor, bins: int) -> Tensor:
    """Count how often each row of int64 (M, P) holds each of the numbers 0 to `bins` - 1; int64 (M, bins)."""
    return (_on_cpu.histogram if on_cpu(index) else _on_device.histogram)(index, bins)


def in_parts(count: Callable[..., Tensor], *rows: Tensor | None) -> Tensor:
    """Apply `count` to the rows of tensors (M, P), a few rows at a time on a CPU, and concatenate the results."""
    first = next(row for row in rows if row is not None)
    step = max(1, PART // first.shape[1] if on_cpu(*rows) else len(first))
    starts = range(0, max(1, len(first)), step)  # no rows give an empty result
    return torch.cat([count(*(None if row is None else row[i : i + step] for row in rows)) for i in starts])


def on_cpu(*tensors: Tensor | None) -> bool:
    """Return whether numpy can read the values of all: on a CPU, and neither compiled nor in torch.vmap."""
    return all(tensor is None or is_readable(tensor) for tensor in tensors)
