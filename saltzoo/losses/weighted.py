"""Weighted sum of losses."""

from __future__ import annotations

from collections.abc import MutableSequence, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ._weights import Weights


class WeightedSum(nn.Module):
    """Sum of weights[i] * losses[i](logits, target).

    `weights` is a list of numbers that may be changed between steps, as in `loss.weights[0] = 0.5`, and is checked when
    it is. A loss whose weight is 0 is not computed. Weights are settings, not part of the state_dict.

    Args:
        losses: modules called as loss(logits, target), all with the same reduction.
        weights: finite numbers, one for each loss.

    Raises:
        TypeError: if a loss is not a module, or `weights` is not a list of numbers.
        ValueError: if there is no loss, the number of weights differs or a weight is not finite; when called, if the
            losses have different shapes.

    Example:
        >>> from saltzoo.losses import BCELoss, LovaszHingeLoss
        >>> loss = WeightedSum([LovaszHingeLoss(margin="elu", symmetric=True), BCELoss()], [1.0, 0.5])
        >>> logits, target = torch.zeros(1, 1, 2, 2), torch.ones(1, 2, 2)
        >>> round(loss(logits, target).item(), 4)
        2.3466
        >>> loss.weights[0] = 0
        >>> round(loss(logits, target).item(), 4)
        0.3466
    """

    weights: MutableSequence[float]

    def __init__(self, losses: Sequence[nn.Module], weights: Sequence[float]) -> None:
        super().__init__()
        for loss in losses:
            if not isinstance(loss, nn.Module):
                raise TypeError(
                    f"losses must be modules, got {loss!r}: give an instance, as in WeightedSum([BCELoss()], [1.0])"
                )
        self.losses: nn.ModuleList = nn.ModuleList(losses)
        self.weights = Weights("weights", weights)

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; weights are checked."""
        if name == "weights":
            value = Weights(name, value)
            if not self.losses or len(value) != len(self.losses):
                raise ValueError(
                    f"losses and weights must be of the same length, 1 or more, got {len(self.losses)} losses and "
                    f"{len(value)} weights: give one weight for each loss"
                )
        super().__setattr__(name, value)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the sum in the shape of the losses, or a scalar 0 if all weights are 0."""
        if isinstance(logits, Tensor) and logits.is_floating_point():  # the terms' gradients are rounded once, summed
            logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        terms = [
            weight * loss(logits, target) for loss, weight in zip(self.losses, self.weights, strict=True) if weight != 0
        ]
        shapes = [tuple(term.shape) for term in terms]
        if len(set(shapes)) > 1:
            raise ValueError(
                f"losses must return the same shape, got {shapes}: give all of them reduction='mean' or 'sum'"
            )
        total = logits.new_zeros(())
        for term in terms:
            total = total + term
        return total

    def extra_repr(self) -> str:
        """Return the weights, for print."""
        return f"weights={self.weights}"
