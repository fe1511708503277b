"""The loss that a recipe minimises."""

from __future__ import annotations

from ..losses import DeepSupervisionLoss, WeightedSum, create_loss
from .recipe import Recipe


def build_objective(recipe: Recipe) -> tuple[DeepSupervisionLoss, WeightedSum]:
    """Return the loss of the model's output, and the sum within it, whose weights follow the recipe's curves."""
    losses = [create_loss(part.name, **part.options) for part in recipe.losses]
    mask = WeightedSum(losses, [part.curve(0.0) for part in recipe.losses])
    weights = recipe.supervision
    loss = DeepSupervisionLoss(
        mask,
        map_weight=weights.map_weight,
        image_weight=weights.image_weight,
        auxiliary_weight=weights.auxiliary_weight,
    )
    return loss, mask
