"""Tiles that were held out from the training of weights, by what their checkpoint says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ..data import Tiles, folds_by_id
from .recipe import Recipe

SYNTHETIC = "synthetic"
"""Word in a card's name of data that were generated."""


def folds_in_training(config: Mapping[str, Any], tiles: Tiles) -> npt.NDArray[np.int64]:
    """Return the fold of each of N tiles, split as in the training of weights.

    Args:
        config: content of the checkpoint's config.json. Without a recipe, there are five folds by id.
        tiles: labelled tiles.
    """
    recipe = config.get("recipe")
    if not recipe:
        return folds_by_id(tiles.ids)
    rule = {key: recipe[key] for key in ("split", "folds") if key in recipe}
    return Recipe.from_saved({"model": {"name": "saltnet_s"}, **rule}).split_tiles(tiles)  # any model: it has no part


def unseen(config: Mapping[str, Any], tiles: Tiles) -> Literal["yes", "no", "unknown"]:
    """Return whether the tiles were held out from the training of weights.

    Args:
        config: content of the checkpoint's config.json.
        tiles: real tiles.

    Returns:
        "yes" if the card names exactly these tiles as held out, or says that the weights were trained on synthetic
        tiles; "no" if it names others, so that a score on these may be too high; "unknown" if it names none.
    """
    metrics = config.get("metrics", [])
    if any(SYNTHETIC in metric.get("data", "") for metric in metrics):
        return "yes"
    named = {metric["held_out"] for metric in metrics if "held_out" in metric}
    if not named:
        return "unknown"
    return "yes" if named == {tiles.fingerprint} else "no"
