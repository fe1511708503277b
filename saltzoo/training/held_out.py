"""Tiles that were held out from the training of weights, by what their checkpoint says."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, cast

import numpy as np
import numpy.typing as npt

from ..contracts import SegmentationModel
from ..data import Tiles, folds_by_id
from ..zoo.ensemble import Ensemble
from .recipe import Recipe

SYNTHETIC = "synthetic"
"""Word in a card's name of data that were generated."""

_SYNTHETIC_ALONE = re.compile(r"\d+ synthetic tiles of saltzoo")
"""What `read_tiles` names data that were generated, without any others."""


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


def only_synthetic(config: Mapping[str, Any]) -> bool:
    """Return whether a card says that weights were trained on synthetic tiles alone.

    It has a recipe that neither started from other weights nor learnt from teachers, which may have seen real tiles.
    Each of its metrics is of tiles that were generated for the run.

    Args:
        config: content of the checkpoint's config.json.
    """
    recipe = config.get("recipe")
    if not recipe or recipe.get("student") or recipe.get("model", {}).get("grow_from"):
        return False
    metrics = [metric for metric in config.get("metrics") or () if isinstance(metric, Mapping)]
    return bool(metrics) and all(_SYNTHETIC_ALONE.fullmatch(metric.get("data", "")) for metric in metrics)


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
    if only_synthetic(config):
        return "yes"
    named = {metric["held_out"] for metric in metrics if "held_out" in metric}
    if not named:
        return "unknown"
    return "yes" if named == {tiles.fingerprint} else "no"


class HeldOut(NamedTuple):
    """A model and the tiles that were held out from its training.

    Attributes:
        model: a model, or the members of an ensemble that share a fold.
        config: content of its checkpoint's config.json.
        tiles: labelled tiles of the fold.
        fold: number of the fold.
    """

    model: SegmentationModel
    config: Mapping[str, Any]
    tiles: Tiles
    fold: int


def held_out_parts(
    model: SegmentationModel, config: Mapping[str, Any], tiles: Tiles, fold: int | None = None
) -> list[HeldOut]:
    """Return a model with the tiles of a fold, or the members of an ensemble, each with those of its own fold.

    Args:
        model: the model.
        config: content of its checkpoint's config.json; that of an ensemble is not read, but those of its members.
        tiles: labelled tiles of all folds.
        fold: number of the fold, for one model; None for that in the config's recipe.

    Raises:
        ValueError: if there is no such fold, a config does not say which was held out, `fold` is given for an ensemble,
            or two members of it hold out a tile by different rules.
    """
    if not isinstance(model, Ensemble):
        return [_one_part(model, config, tiles, fold)]
    if fold is not None:
        raise ValueError(
            f"fold must be None for an ensemble, whose members are scored on their own folds, got {fold}: leave it out"
        )
    if not model.records:
        raise ValueError("the members of the ensemble must come from checkpoints that say which fold was held out")
    of_fold: dict[int, list[int]] = {}
    for number, record in enumerate(model.records):
        of_fold.setdefault(_fold_of(record, f"member {number} of the ensemble"), []).append(number)
    parts = [_one_part(_chosen(model, members), model.records[members[0]], tiles) for members in of_fold.values()]
    ids = [name for part in parts for name in part.tiles.ids]
    if len(set(ids)) < len(ids):
        raise ValueError("members of an ensemble must split the tiles by one rule, and two hold out the same tile")
    return parts


def unseen_parts(parts: Sequence[HeldOut]) -> Literal["yes", "no", "unknown"]:
    """Return "yes" if all tiles were held out from the training of their model, as `unseen` says; else what it says."""
    known = {unseen(part.config, part.tiles) for part in parts}
    return "no" if "no" in known else "unknown" if "unknown" in known else "yes"


def _one_part(model: SegmentationModel, config: Mapping[str, Any], tiles: Tiles, fold: int | None = None) -> HeldOut:
    number = _fold_of(config, "the weights") if fold is None else fold
    folds = folds_in_training(config, tiles)
    chosen = tiles.select(folds == number)
    if not len(chosen):
        raise ValueError(f"fold must be 0 to {folds.max()}, got {number}: choose one of these")
    return HeldOut(model, config, chosen, number)


def _fold_of(config: Mapping[str, Any], what: str) -> int:
    recipe = config.get("recipe")
    if not recipe:
        raise ValueError(f"{what} must say which fold was held out, and has no recipe: give fold=0 to fold=4")
    return int(recipe.get("fold", 0))  # 0 is that of a recipe without one


def _chosen(ensemble: Ensemble, members: Sequence[int]) -> SegmentationModel:
    """Return a member, or the ensemble of some."""
    models = [cast(SegmentationModel, ensemble.members[number]) for number in members]
    if len(models) == 1:
        return models[0]
    return Ensemble(models, mode=ensemble.mode, weights=[ensemble.weights[number] for number in members])
