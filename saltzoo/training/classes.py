"""Classes of a run: masks of salt or labels of several classes, and losses that fit them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from ..data import Tiles
from .recipe import Recipe

_OF_BOTH = ("dice_loss", "focal_loss", "generalized_dice_loss", "jaccard_loss", "tversky_loss")
LABEL_LOSSES = (*_OF_BOTH, "bootstrapped_ce", "ce_loss", "lovasz_softmax")
MASK_LOSSES = (*_OF_BOTH, "bce_dice_loss", "bce_loss", "bootstrapped_bce", "lovasz_hinge", "topology_loss")


def with_labels(recipe: Recipe, tiles: Tiles) -> Tiles:
    """Return the tiles with masks as the recipe's model learns them.

    They are bool for one class, and uint8, 0 to K - 1, for K classes or a recipe with `ignore_index`.

    Args:
        recipe: the recipe.
        tiles: tiles with bool masks, which are of two classes if the model has two, or with labels.

    Raises:
        ValueError: if the tiles have no masks, or a mask holds a value that is neither a class nor `ignore_index`.

    Example:
        >>> recipe = Recipe.from_dict({"model": {"name": "saltnet_s", "options": {"num_classes": 2}}})
        >>> tiles = Tiles(("a",), np.zeros((1, 1, 2), np.uint8), np.array([[[False, True]]]))
        >>> with_labels(recipe, tiles).masks
        array([[[0, 1]]], dtype=uint8)
    """
    masks, classes, ignored = tiles.require_masks(), recipe.num_classes, recipe.ignore_index
    if masks.dtype == np.bool_:
        if classes > 2:
            raise ValueError(
                f"masks must be uint8, the class of each pixel, for num_classes={classes} in model.options, got bool: "
                f"give labels, as `read_folder(..., classes={classes})` reads them"
            )
        return replace(tiles, masks=masks.astype(np.uint8)) if classes > 1 or ignored is not None else tiles
    allowed = {*range(max(classes, 2)), *([] if ignored is None else [ignored])}
    found = np.zeros(256, np.bool_)
    found[masks] = True
    values = np.flatnonzero(found).tolist()
    if not allowed.issuperset(values):
        listed = ", ".join(map(str, values[:8])) + (", ..." if len(values) > 8 else "")
        raise ValueError(
            f"masks must hold 0 to {max(classes, 2) - 1}{'' if ignored is None else f' and ignore_index={ignored}'}, "
            f"as the recipe's model has num_classes={classes}, got the values {listed}: set num_classes in "
            f"model.options to the number of classes, and ignore_index in the recipe to the value of unknown pixels"
        )
    return replace(tiles, masks=masks == 1) if classes == 1 and ignored is None else tiles


def check_losses(recipe: Recipe, losses: Sequence[nn.Module], size: tuple[int, int]) -> None:
    """Raise if a loss of the recipe does not fit its classes: it then fails before the first step.

    Args:
        recipe: the recipe.
        losses: its losses, on the CPU.
        size: height and width of the tiles.

    Raises:
        ValueError: if a loss does not take such logits and masks, or returns no scalar.
    """
    classes = recipe.num_classes
    kind = "masks of salt" if classes == 1 else f"labels of {classes} classes"
    given = _blank(recipe, size)
    for part, loss in zip(recipe.losses, losses, strict=True):
        error = _error_of(loss, *given)
        if error is not None:
            raise ValueError(
                f"loss {part.name!r} must fit {kind}, got {type(error).__name__}: {error}. Losses of {kind}: "
                f"{', '.join(MASK_LOSSES if classes == 1 else LABEL_LOSSES)}"
            ) from error


def _blank(recipe: Recipe, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Return logits 1 K H W and a mask or labels 1 H W, of background and, if there is such a value, unknown pixels."""
    classes, ignored = recipe.num_classes, recipe.ignore_index
    plain = classes == 1 and ignored is None
    target = torch.zeros(1, *size, dtype=torch.bool if plain else torch.uint8)
    if ignored is not None:
        target[:, 0, 0] = ignored
    return torch.zeros(1, classes, *size), target


def _error_of(loss: nn.Module, logits: Tensor, target: Tensor) -> Exception | None:
    try:
        value = loss(logits, target)
    except (TypeError, ValueError) as error:
        return error
    return None if value.ndim == 0 else ValueError(f"it returns the shape {tuple(value.shape)} and no scalar")
