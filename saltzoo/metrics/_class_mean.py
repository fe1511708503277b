"""Means over classes."""

from typing import Literal

from torch import Tensor

ClassAverage = Literal["macro", "micro", "weighted"]


def class_mean(scores: Tensor, support: Tensor | None) -> Tensor:
    """Return the mean over the last axis, without NaN; NaN if nothing remains.

    Args:
        scores: scores of classes, (..., K).
        support: weights of the classes, the pixels that the truth has of each, (..., K); None for equal weights.
    """
    if support is None:
        return scores.nanmean(-1)
    support = support.masked_fill(scores.isnan(), 0)
    return (scores.nan_to_num(0) * support).sum(-1) / support.sum(-1)  # 0/0 is NaN
