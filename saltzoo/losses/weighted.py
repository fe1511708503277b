"""A weighted sum of losses."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn


class WeightedSum(nn.Module):
    """Sum of w_i * loss_i(logits, target).

    The weights are the buffer `weights`, on the device of the module: a schedule writes into it, as in
    `loss.weights[0] = 0.5`, and neither a compiled step nor a captured one has to be built anew. They are
    settings, and not part of the state_dict.

    Args:
        losses: modules called as loss(logits, target), each with the same reduction.
        weights: a finite number for each loss.

    Raises:
        TypeError: a loss is not a module.
        ValueError: no loss, not as many weights as losses, a weight that is not finite, or (when called)
            losses of differing shapes.

    Example:
        >>> from saltzoo.losses import BCELoss, LovaszHingeLoss
        >>> loss = WeightedSum([LovaszHingeLoss(margin="elu", symmetric=True), BCELoss()], [1.0, 0.5])
        >>> round(loss(torch.zeros(1, 1, 2, 2), torch.ones(1, 2, 2)).item(), 4)
        2.3466
    """

    weights: Tensor  # one value a loss, float32

    def __init__(self, losses: Sequence[nn.Module], weights: Sequence[float]) -> None:
        super().__init__()
        for loss in losses:
            if not isinstance(loss, nn.Module):
                raise TypeError(f"{loss!r} is not a module. Give an instance, as in WeightedSum([BCELoss()], [1.0]).")
        if not losses or len(losses) != len(weights):
            raise ValueError(
                f"{len(losses)} losses and {len(weights)} weights. Give at least one, and as many of each."
            )
        if not all(math.isfinite(weight) for weight in weights):
            raise ValueError(f"weights={list(weights)} are not all finite. Give a finite number for each loss.")
        self.losses = nn.ModuleList(losses)
        self.register_buffer("weights", torch.tensor(weights, dtype=torch.float32), persistent=False)

    def extra_repr(self) -> str:
        """Weights, for print."""
        return f"weights={[round(weight, 6) for weight in self.weights.tolist()]}"

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the sum, in the shape of the losses."""
        values = [loss(logits, target) for loss in self.losses]
        shapes = [tuple(value.shape) for value in values]
        if len(set(shapes)) > 1:
            raise ValueError(f"The losses return the shapes {shapes}. Give all of them reduction='mean' or 'sum'.")
        return torch.stack([value * weight for value, weight in zip(values, self.weights, strict=True)]).sum(0)
