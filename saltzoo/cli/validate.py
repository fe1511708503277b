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
    import numpy as np
    import numpy.typing as npt


@command("validate", example="saltzoo validate --model saltnet_s.tgs3 --data DIR --tta hflip")
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

    The tiles are a fold of the labelled ones, split as in the training of the weights. Each member of an ensemble is
    scored on its own fold, and the scores are those of all these tiles together. Prints the competition's
    score, IoU and Dice (means over tiles; a tile that is empty in both masks scores 1), and the shares of empty and
    of other tiles recognised as such. "unseen" is yes if the weights' card names exactly these tiles as held out, or
    synthetic tiles as the training data; no if it names others, so that the scores may be too high; unknown if it
    names none.
    """
    import numpy as np

    from ..data import read_tgs
    from ..training.held_out import held_out_parts, unseen_parts
    from .flags import in_flags
    from .loading import config_of, device_of, load_model
    from .tiles import TileMasks

    loaded = load_model(model, device_of(device))
    try:
        parts = held_out_parts(loaded, config_of(model, loaded), read_tgs(data), fold)
    except ValueError as error:
        raise ValueError(in_flags(str(error))) from error
    limit = loaded.threshold if threshold is None else threshold
    smallest = loaded.min_size if min_size is None else min_size
    masks, truths = [], []
    for part in parts:
        masks_of = TileMasks(part.model, threshold=limit, min_size=smallest, tta=tta, batch_size=batch_size)
        masks.append(masks_of.of(part.tiles, quiet=as_json))
        truths.append(part.tiles.require_masks())
    found = {
        "model": model,
        "fold": parts[0].fold if len(parts) == 1 else "each",
        "tiles": sum(len(part.tiles) for part in parts),
        "unseen": unseen_parts(parts),
        "tta": tta,
        "threshold": limit,
        "min_size": smallest,
        **_scores(np.concatenate(masks), np.concatenate(truths)),
    }
    print(json.dumps(found) if as_json else "\n".join(f"{key}: {_text(value)}" for key, value in found.items()))
    return 0


def _scores(masks: npt.NDArray[np.bool_], truths: npt.NDArray[Any]) -> dict[str, float]:
    from ..metrics import dice_score, empty_accuracy, iou_score, salt_map

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
