"""Look up, list and register names of models and weights. Standard library only, so that listing is fast."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable
from typing import Any, TypeVar, overload

from .._checks import check_flags, closest
from . import catalog
from .spec import ModelSpec, WeightsSpec

_models: dict[str, ModelSpec] = {spec.name: spec for spec in catalog.MODELS}
_weights: dict[str, WeightsSpec] = {spec.name: spec for spec in catalog.WEIGHTS}

_Builder = TypeVar("_Builder", bound=Callable[..., Any])


def list_models(filter: str = "*", pretrained: bool = False) -> list[str]:
    """Return the names that `create_model` takes, sorted.

    Args:
        filter: shell pattern, such as "*scse*".
        pretrained: return names of weights instead, such as "unet_resnet34_scse.tgs2".

    Raises:
        TypeError: if `pretrained` is not True or False.

    Example:
        >>> list_models("unet_resnet34_scse*")
        ['unet_resnet34_scse', 'unet_resnet34_scse_ds', 'unet_resnet34_scse_hc', 'unet_resnet34_scse_hc_ds']
    """
    check_flags(pretrained=pretrained)
    return sorted(fnmatch.filter(_weights if pretrained else _models, filter))


def is_model(name: str) -> bool:
    """Return whether a name, without a tag of weights, is a registered model.

    Example:
        >>> is_model("unet_resnet34"), is_model("resnet34")
        (True, False)
    """
    return name in _models


@overload
def register_model(model: ModelSpec) -> ModelSpec: ...
@overload
def register_model(model: _Builder) -> _Builder: ...
def register_model(model: ModelSpec | _Builder) -> ModelSpec | _Builder:
    """Register a model under its name. Returns its argument, so that it can decorate a builder function.

    Args:
        model: ModelSpec, or a builder function, whose name becomes the model's.

    Raises:
        ValueError: if the name is taken.

    Example:
        >>> @register_model
        ... def my_net(*, in_chans=1, num_classes=1, width=16):
        ...     return torch.nn.Conv2d(in_chans, num_classes, 3, padding=1)
        >>> is_model("my_net")
        True
    """
    spec = model if isinstance(model, ModelSpec) else ModelSpec(model.__name__, model)
    if spec.name in _models:
        raise ValueError(f"a model named {spec.name!r} is already registered: choose another name")
    _models[spec.name] = spec
    return model


def register_weights(weights: WeightsSpec) -> WeightsSpec:
    """Register weights for `create_model(..., pretrained=True)`.

    Raises:
        ValueError: if the model is unknown, or weights with this tag are registered.
    """
    find_model(weights.model)
    if weights.name in _weights:
        raise ValueError(f"weights named {weights.name!r} are already registered: choose another tag")
    _weights[weights.name] = weights
    return weights


def find_model(name: str) -> ModelSpec:
    """Return a model by its name.

    Raises:
        ValueError: if it is unknown, with the closest names and how to compose a model.
    """
    if name in _models:
        return _models[name]
    hint = closest(name, _models)
    raise ValueError(
        f"unknown model {name!r}. {hint and f'{hint} '}See saltzoo.list_models(), or compose one: "
        f'create_model("unet", encoder="resnet34", attention="scse")'
    )


def find_weights(model: str, tag: str = "") -> WeightsSpec:
    """Return published weights of a model by their tag; without a tag, the first in the catalog.

    Raises:
        ValueError: if no such weights are published, with those that are.
    """
    find_model(model)
    tags = {spec.tag: spec for spec in _weights.values() if spec.model == model}
    if not tags:
        raise ValueError(
            f"no weights of {model!r} are published; published weights: {list_models(pretrained=True) or 'none yet'}. "
            f'Train it with examples/train.py and load it with create_model("local-dir:PATH")'
        )
    if tag and tag not in tags:
        raise ValueError(f"no weights '{model}.{tag}' are published; tags of {model!r}: {sorted(tags)}")
    return tags[tag] if tag else next(iter(tags.values()))
