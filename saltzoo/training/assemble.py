"""Build what a recipe describes: model, optimiser, loss and weight average."""

from __future__ import annotations

import torch
from torch import nn

from ..data import Tiles
from ..losses import DeepSupervisionLoss, WeightedSum, create_loss
from ..models import Segmenter
from ..preprocess import Preprocess
from ..zoo.factory import create_model
from .recipe import Recipe
from .recipe_parts import OptimizerPart
from .scalars import check_depths, reads_scalar, with_depths_of
from .techniques.averaging import WeightAverage, exponential_average, stochastic_average
from .techniques.groups import parameter_groups
from .techniques.growing import grow
from .techniques.normalized_gradient import normalized_gradient


def build_initial_model(recipe: Recipe, tiles: Tiles, *, restored: Preprocess | None = None) -> Segmenter:
    """Return the model with its first weights: random ones, those of an encoder or those of a smaller network.

    Args:
        recipe: recipe of the run.
        tiles: training tiles, whose depths a model that reads a scalar is scaled to.
        restored: preprocessing of a model whose tensors will be loaded: no other weights are then read.
    """
    part = recipe.model
    options = {**part.options, **part.training_options}
    if restored is not None:
        model = create_model(part.name, **options)
        model.preprocess = restored
        return model
    model = create_model(part.name, pretrained_encoder=part.pretrained_encoder, **options)
    knows_depths = False
    if part.grow_from is not None:
        smaller = create_model(part.grow_from, pretrained=True, in_chans=model.in_chans)
        grow(model, smaller, drop=part.grow_without)
        model.preprocess = smaller.preprocess
        knows_depths = reads_scalar(smaller)
    if reads_scalar(model) and not knows_depths:
        check_depths(tiles, "training tiles")
        model.preprocess = with_depths_of(model.preprocess, tiles)
    return model


def build_optimizer(part: OptimizerPart, model: nn.Module) -> torch.optim.Optimizer:
    """Return the optimiser with its parameter groups."""
    groups = parameter_groups(
        model, lr=part.lr, weight_decay=part.weight_decay, encoder_scale=part.encoder_scale, scales=part.scales
    )
    optimizer: torch.optim.Optimizer
    if part.name == "adamw":
        optimizer = torch.optim.AdamW(groups, lr=part.lr, betas=part.betas, fused=True)
    else:
        # torch's fused SGD fails on parameters whose first gradient comes later than that of others.
        optimizer = torch.optim.SGD(groups, lr=part.lr, momentum=part.momentum, nesterov=part.momentum > 0)
    return normalized_gradient(optimizer) if part.normalized_gradient else optimizer


def build_loss(recipe: Recipe) -> tuple[DeepSupervisionLoss, WeightedSum]:
    """Return the loss of the model's output, and the sum within it, whose weights follow the recipe's curves."""
    unknown = {} if recipe.ignore_index is None else {"ignore_index": recipe.ignore_index}
    losses = [create_loss(part.name, **{**part.options, **unknown}) for part in recipe.losses]
    mask = WeightedSum(losses, [part.curve(0.0) for part in recipe.losses])
    weights = recipe.supervision
    loss = DeepSupervisionLoss(
        mask,
        map_weight=weights.map_weight,
        image_weight=weights.image_weight,
        auxiliary_weight=weights.auxiliary_weight,
        ignore_index=recipe.ignore_index,
    )
    return loss, mask


def build_average(recipe: Recipe, model: Segmenter) -> WeightAverage | None:
    """Return the average of the model's weights, or None if the recipe has none."""
    if recipe.average.kind == "ema":
        return exponential_average(model, decay=recipe.average.decay)
    return stochastic_average(model) if recipe.average.kind == "swa" else None
