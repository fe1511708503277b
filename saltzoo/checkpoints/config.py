"""The content of config.json: how a model is built again, and what is known about its weights."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from .._version import __version__
from ..contracts import ModelConfig
from ..preprocess import Preprocess


def config_of(model: nn.Module) -> tuple[ModelConfig, Preprocess]:
    """Return the config and the preprocess of a model.

    Raises:
        ValueError: if it has none, or they do not fit each other.
    """
    parts = _parts_of(model)
    if parts is None:
        children = model.named_children() if isinstance(model, nn.Module) else ()
        inside = [name for name, child in children if _parts_of(child) is not None]
        raise ValueError(
            f"this {type(model).__name__} cannot be saved: it needs a config, which create_model sets (register its "
            f"builder with saltzoo.register_model and create it by name), and a preprocess (set "
            f"model.preprocess = saltzoo.Preprocess(...))"
            + (f". It wraps such a model: save its .{inside[0]}" if inside else "")
        )
    config, preprocess = parts
    channels = config.model_args.get("in_chans", 1)
    if preprocess.in_chans != channels:
        raise ValueError(
            f"this {type(model).__name__} cannot be saved: its preprocess is for {preprocess.in_chans} "
            f"channel(s), and the model has {channels}: set model.preprocess to one with {channels} mean(s)"
        )
    return parts


def _parts_of(model: nn.Module) -> tuple[ModelConfig, Preprocess] | None:
    try:
        config, preprocess = model.config, model.preprocess
    except AttributeError:
        return None
    return (config, preprocess) if isinstance(config, ModelConfig) and isinstance(preprocess, Preprocess) else None


@dataclass(frozen=True)
class Notes:
    """What is known about weights, besides the model they belong to.

    Attributes:
        labels: name of each class. None: "salt" for one class, class_0, class_1, ... for several.
        license: licence of the weights.
        metrics: scores, each with name and value.
        recipe: description of the training.
        threshold: probability above which a pixel is salt. None: not known.
        min_size: number of pixels below which a patch of salt is removed. None: not known.
    """

    labels: Sequence[str] | None = None
    license: str = "other"
    metrics: Sequence[Mapping[str, Any]] = ()
    recipe: Mapping[str, Any] | None = None
    threshold: float | None = None
    min_size: int | None = None


def describe(model: nn.Module, notes: Notes) -> dict[str, Any]:
    """Return the content of config.json.

    Raises:
        ValueError: if the model was not made by `create_model`, or a value is wrong or cannot be written as JSON.
    """
    config, preprocess = config_of(model)
    table = {
        "architecture": config.architecture,
        "model_args": config.model_args,
        **({"mask_only": True} if config.mask_only else {}),
        "preprocess": preprocess.to_dict(),
        **_noted(notes, config.model_args.get("num_classes", 1)),
    }
    _check_json(table)
    return table


def describe_ensemble(mode: str, weights: Sequence[float], num_classes: int, notes: Notes) -> dict[str, Any]:
    """Return the content of an ensemble's config.json, whose members are in the folders member0, member1, ...

    Raises:
        ValueError: if a value is wrong or cannot be written as JSON.
    """
    members = [f"member{position}" for position in range(len(weights))]
    table = {
        "ensemble": {"mode": mode, "members": members, "weights": list(weights)},
        **_noted(notes, num_classes),
    }
    _check_json(table)
    return table


def _noted(notes: Notes, classes: int) -> dict[str, Any]:
    """Return the entries of config.json that describe weights of a number of classes."""
    labels = notes.labels
    names = list(labels) if labels else ["salt"] if classes == 1 else [f"class_{i}" for i in range(classes)]
    if isinstance(labels, str) or len(names) != classes:
        raise ValueError(f"labels must name each of the model's {classes} class(es), got {labels!r}")
    if not isinstance(notes.license, str):
        raise ValueError(f'license must be a string, such as "apache-2.0", got {notes.license!r}')
    for metric in notes.metrics:
        if (
            not isinstance(metric, Mapping)
            or not isinstance(metric.get("name"), str)
            or not isinstance(metric.get("value"), int | float)
        ):
            raise ValueError(f'a metric needs at least {{"name": "...", "value": a number}}, got {metric!r}')
    if notes.recipe is not None and not isinstance(notes.recipe, Mapping):
        raise ValueError(f"recipe must be a mapping, got a {type(notes.recipe).__name__}")
    _check_mask_options(notes, classes)
    return {
        "labels": names,
        "saltzoo_version": __version__,
        "license": notes.license,
        "metrics": [dict(metric) for metric in notes.metrics],
        "recipe": dict(notes.recipe or {}),
        **({} if notes.threshold is None else {"threshold": notes.threshold}),
        **({} if notes.min_size is None else {"min_size": notes.min_size}),
    }


def _check_mask_options(notes: Notes, classes: int) -> None:
    threshold, min_size = notes.threshold, notes.min_size
    if threshold is not None:
        if isinstance(threshold, bool) or not isinstance(threshold, int | float) or not 0 <= threshold < 1:
            raise ValueError(f"threshold must be a probability of at least 0 and below 1, got {threshold!r}")
        if classes > 1:
            raise ValueError(
                f"threshold is for models of one class, and this one has {classes}, of which the most probable is "
                f"taken: leave threshold out"
            )
    if min_size is not None and (isinstance(min_size, bool) or not isinstance(min_size, int) or min_size < 0):
        raise ValueError(f"min_size must be a number of pixels, 0 or more, got {min_size!r}")


def _check_json(config: dict[str, Any]) -> None:
    """Raise ValueError unless JSON holds exactly these values."""
    try:
        again = json.loads(json.dumps(config, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"config.json holds only plain finite values: {error}; got {config}") from error
    if again != config:
        raise ValueError(f"config.json would change these values (tuples become lists, keys strings): {config}")
