"""Counting on a CPU, by numpy: torch takes 20 times as long to add up booleans there.

Each function does what the one of the same name in `_on_device` does.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Array = npt.NDArray[Any]


def overlaps(pred: Tensor, target: Tensor, valid: Tensor | None) -> Tensor:
    """See `_on_device.overlaps`."""
    p, t = _packed(pred), _packed(target)
    counts = np.full((len(p), 4), pred.shape[1], np.int64)
    if valid is not None:
        v = _packed(valid)
        p &= v
        t &= v
        counts[:, 3] = _population(v)
    counts[:, 0], counts[:, 1], counts[:, 2] = _population(p & t), _population(p), _population(t)
    return torch.from_numpy(counts)


def confusions(pred: Tensor, target: Tensor, valid: Tensor | None, num_classes: int) -> Tensor:
    """See `_on_device.confusions`; an image at a time stays in the caches, so its labels are checked for little.

    Raises:
        ValueError: a valid pixel has another label than 0 to `num_classes` - 1.
    """
    counts = np.empty((len(pred), num_classes**2), np.int64)
    valids = [None] * len(pred) if valid is None else valid.numpy()
    for count, p, t, v in zip(counts, pred.numpy(), target.numpy(), valids, strict=True):
        if v is not None:
            p, t = p[v], t[v]
        _check_labels("pred_masks", p, num_classes)
        _check_labels("target_masks", t, num_classes)
        index = t.astype(np.intp)
        index *= num_classes
        np.add(index, p, out=index, casting="unsafe")  # unsafe only for uint64, which numpy adds to no intp
        count[:] = np.bincount(index, minlength=num_classes**2)
    return torch.from_numpy(counts)


def histogram(index: Tensor, bins: int) -> Tensor:
    """See `_on_device.histogram`."""
    counts = np.empty((len(index), bins), np.int64)
    for count, row in zip(counts, index.numpy(), strict=True):
        count[:] = np.bincount(row, minlength=bins)
    return torch.from_numpy(counts)


def _packed(mask: Tensor) -> Array:
    """A mask (M, P) at a bit a pixel, in words of 64."""
    array = mask.numpy()
    bits = np.packbits(array if array.dtype in (np.bool_, np.uint8) else array > 0, axis=1)
    rows, count = bits.shape
    padded = np.zeros((rows, -(-count // 8) * 8), np.uint8)
    padded[:, :count] = bits
    return padded.view(np.uint64)


def _population(words: Array) -> Array:
    return np.bitwise_count(words).sum(1, dtype=np.int64)


def _check_labels(name: str, labels: Array, num_classes: int) -> None:
    # Read as unsigned, a negative label is a large one: one look finds both.
    if labels.size and labels.view(f"u{labels.itemsize}").max() >= num_classes:
        wrong = labels.min() if labels.min() < 0 else labels.max()
        advice = f", or leave its pixels out with ignore_index={wrong}" if name == "target_masks" else ""
        raise ValueError(
            f"{name} has the label {wrong}; num_classes={num_classes} knows 0 to {num_classes - 1}. "
            f"Raise num_classes{advice}."
        )
