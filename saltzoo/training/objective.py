"""What a recipe minimises: a sum of losses whose weights move."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..losses import DeepSupervisionLoss, create_loss
from .recipe import Recipe
from .recipe_parts import LossPart


class ScheduledSum(nn.Module):
    """Sum of losses; each weight follows its curve over the progress of training.

    A loss whose weight is 0 is not computed. Set `progress`, the share of all steps that are done, before a step.

    Args:
        parts: names, options and weights of the losses.

    Example:
        >>> fade = LossPart("bce_loss", [[0.0, 1.0], [1.0, 0.0]])
        >>> loss = ScheduledSum([fade])
        >>> loss.progress = 0.5
        >>> round(loss(torch.zeros(1, 1, 2, 2), torch.ones(1, 2, 2)).item(), 4)  # log(2) / 2
        0.3466
    """

    def __init__(self, parts: Sequence[LossPart]) -> None:
        super().__init__()
        self.losses = nn.ModuleList(create_loss(part.name, **part.options) for part in parts)
        self.curves = [part.curve for part in parts]
        self.progress = 0.0

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the sum."""
        total = logits.new_zeros((), dtype=torch.promote_types(logits.dtype, torch.float32))
        for loss, curve in zip(self.losses, self.curves, strict=True):
            weight = curve(self.progress)
            if weight != 0:
                total = total + weight * loss(logits, target)
        return total


def build_objective(recipe: Recipe) -> tuple[DeepSupervisionLoss, ScheduledSum]:
    """The loss of what the recipe's model returns, and the sum in it whose progress is to be set."""
    mask = ScheduledSum(recipe.losses)
    weights = recipe.supervision
    loss = DeepSupervisionLoss(
        mask,
        map_weight=weights.map_weight,
        image_weight=weights.image_weight,
        auxiliary_weight=weights.auxiliary_weight,
    )
    return loss, mask
