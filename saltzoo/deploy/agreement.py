"""How far the logits of two models are apart."""

from __future__ import annotations

from torch import Tensor

TOLERANCE = 1e-4
"""Largest difference in float32, as a fraction of the largest logit or of 1 if that is larger."""

TOLERANCE_FLOAT64 = 1e-8
"""The same in float64, where the rounding of the deepest networks stays below 1e-10."""


def largest_difference(got: Tensor, want: Tensor) -> float:
    """Return the largest difference of two results, as a fraction of the largest value of `want`, or of 1 if larger.

    Example:
        >>> import torch
        >>> largest_difference(torch.tensor([11.0, 2.0]), torch.tensor([10.0, 2.0]))
        0.1...
    """
    if not want.numel():
        return 0.0
    return ((got - want).abs().max() / want.abs().max().clamp(min=1)).item()
