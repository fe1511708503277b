"""`saltzoo validate`: scores of weights on the tiles that were held out from their training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import (
    batch_size_option,
    command,
    data_option,
    device_option,
    json_option,
    min_size_option,
    model_option,
    threshold_option,
    tta_option,
)

if TYPE_CHECKING:
    from ..data import Tiles


@command("validate", example="saltzoo validate --model saltnet_s.tgs2 --data DIR --tta hflip")
@model_option
@data_option(required=True)
@click.option("--fold", type=click.IntRange(0), help="Fold that validates; default: the one held out in training.")
@tta_option
@threshold_option
@min_size_option
@device_option
@batch_size_option
@json_option
def validate(
    model: str,
    *,
    data: Path,
    fold: int | None,
    tta: str | None,
    threshold: float | None,
    min_size: int | None,
    device: str | None,
    batch_size: int,
    as_json: bool,
) -> int:
    """Score weights on held-out tiles.

    The tiles are a fold of the labelled ones, split as in the training of the weights. Prints the competition's
    score, IoU and Dice (means over tiles; a tile that is empty in both masks scores 1), and the shares of empty and
    of other tiles recognised as such. "unseen" is yes if the weights' card names exactly these tiles as held out, or
    synthetic tiles as the training data; no if it names others, so that the scores may be too high; unknown if it
    names none.
    """
    from ..data import read_tgs
    from ..training.held_out import unseen
    from ..zoo.sources import load_weights
    from .loading import device_of, load_model
    from .tiles import TileMasks

    chosen = device_of(device)
    config = load_weights(model).config
    held_out, number = _held_out(config, read_tgs(data), fold)
    masks = TileMasks(load_model(model, chosen), tta=tta, threshold=threshold, min_size=min_size, batch_size=batch_size)
    found = {
        "model": model,
        "fold": number,
        "tiles": len(held_out),
        "unseen": unseen(config, held_out),
        "tta": tta,
        "threshold": masks.threshold,
        "min_size": masks.min_size,
        **_scores(masks.of(held_out, quiet=as_json), held_out),
    }
    print(json.dumps(found) if as_json else "\n".join(f"{key}: {_text(value)}" for key, value in found.items()))
    return 0


def _held_out(config: dict[str, Any], tiles: Tiles, fold: int | None) -> tuple[Tiles, int]:
    """Return the tiles of a fold, and its number.

    Raises:
        ValueError: if there is no such fold, or the config does not say which was held out.
    """
    from ..training import Recipe
    from ..training.held_out import folds_in_training

    recipe = Recipe.from_saved(config["recipe"]) if config.get("recipe") else None
    if fold is None and recipe is None:
        raise ValueError("the weights do not say which fold was held out: give --fold 0 to --fold 4")
    folds = folds_in_training(config, tiles)
    number = fold if fold is not None else recipe.fold if recipe else 0
    chosen = tiles.select(folds == number)
    if not len(chosen):
        raise ValueError(f"--fold must be 0 to {folds.max()}, got {number}")
    return chosen, number


def _scores(masks: Any, tiles: Tiles) -> dict[str, float]:
    from ..metrics import dice_score, empty_accuracy, iou_score, salt_map

    truths = tiles.require_masks()
    right = empty_accuracy(masks, truths)
    return {
        "salt_map": salt_map(masks, truths).item(),
        "iou": iou_score(masks, truths, average="per_image").item(),
        "dice": dice_score(masks, truths, average="per_image").item(),
        "empty": right.empty.item(),
        "nonempty": right.nonempty.item(),
    }


def _text(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else "none" if value is None else str(value)
