"""The content of config.json: how a model is built again, and what is known about its weights."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
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


def describe(
    model: nn.Module,
    *,
    labels: Sequence[str] | None,
    license: str,
    metrics: Sequence[Mapping[str, Any]],
    recipe: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Return the content of config.json.

    Raises:
        ValueError: if the model was not made by `create_model`, or a value is wrong or cannot be written as JSON.
    """
    config, preprocess = config_of(model)
    classes = config.model_args.get("num_classes", 1)
    names = list(labels) if labels else ["salt"] if classes == 1 else [f"class_{i}" for i in range(classes)]
    if isinstance(labels, str) or len(names) != classes:
        raise ValueError(f"labels must name each of the model's {classes} class(es), got {labels!r}")
    if not isinstance(license, str):
        raise ValueError(f'license must be a string, such as "apache-2.0", got {license!r}')
    for metric in metrics:
        if (
            not isinstance(metric, Mapping)
            or not isinstance(metric.get("name"), str)
            or not isinstance(metric.get("value"), int | float)
        ):
            raise ValueError(f'a metric needs at least {{"name": "...", "value": a number}}, got {metric!r}')
    if recipe is not None and not isinstance(recipe, Mapping):
        raise ValueError(f"recipe must be a mapping, got a {type(recipe).__name__}")
    table = {
        "architecture": config.architecture,
        "model_args": config.model_args,
        **({"mask_only": True} if config.mask_only else {}),
        "preprocess": preprocess.to_dict(),
        "labels": names,
        "saltzoo_version": __version__,
        "license": license,
        "metrics": [dict(metric) for metric in metrics],
        "recipe": dict(recipe or {}),
    }
    _check_json(table)
    return table


def _check_json(config: dict[str, Any]) -> None:
    """Raise ValueError unless JSON holds exactly these values."""
    try:
        again = json.loads(json.dumps(config, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"config.json holds only plain finite values: {error}; got {config}") from error
    if again != config:
        raise ValueError(f"config.json would change these values (tuples become lists, keys strings): {config}")
