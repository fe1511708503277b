"""Losses by name, so that a recipe's file can say which."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from .bce import BCELoss
from .bce_dice import BCEDiceLoss
from .bootstrapped import BootstrappedBCELoss, BootstrappedCELoss
from .ce import CELoss
from .deep_supervision import DeepSupervisionLoss
from .dice import DiceLoss
from .focal import FocalLoss
from .jaccard import JaccardLoss
from .lovasz_hinge import LovaszHingeLoss
from .lovasz_softmax import LovaszSoftmaxLoss
from .topology import TopologyLoss
from .tversky import TverskyLoss
from .weighted import WeightedSum

Config = str | Mapping[str, Any]

_losses: dict[str, Callable[..., nn.Module]] = {
    "bce_dice_loss": BCEDiceLoss,
    "bce_loss": BCELoss,
    "bootstrapped_bce": BootstrappedBCELoss,
    "bootstrapped_ce": BootstrappedCELoss,
    "ce_loss": CELoss,
    "deep_supervision": DeepSupervisionLoss,
    "dice_loss": DiceLoss,
    "focal_loss": FocalLoss,
    "jaccard_loss": JaccardLoss,
    "lovasz_hinge": LovaszHingeLoss,
    "lovasz_softmax": LovaszSoftmaxLoss,
    "topology_loss": TopologyLoss,
    "tversky_loss": TverskyLoss,
    "weighted_sum": WeightedSum,
}


def list_losses() -> list[str]:
    """Names that `create_loss` takes, in order."""
    return sorted(_losses)


def register_loss(name: str, build: Callable[..., nn.Module]) -> None:
    """Adds a loss of your own to the names.

    Args:
        name: of the loss.
        build: (**options) -> a module called as loss(logits, target); a class, for one.

    Raises:
        ValueError: if the name is taken.
    """
    if name in _losses:
        raise ValueError(f"there is a loss named {name!r} already: choose another name")
    _losses[name] = build


def create_loss(loss: Config, /, **options: Any) -> nn.Module:
    """A loss by its name, as a module.

    Where losses are made of losses, as in "weighted_sum" and "deep_supervision", the inner ones are given in the same
    way: by a name, or by a table of a name and options, as a TOML or JSON file holds it.

    Args:
        loss: a name of `list_losses()`; or a table with the key "name", and options beside it.
        options: of the loss.

    Raises:
        TypeError: an option that the loss does not have, or a config that is neither name nor table.
        ValueError: an unknown name, or what the loss refuses.

    Example:
        >>> elu = {"name": "lovasz_hinge", "margin": "elu", "symmetric": True}
        >>> loss = create_loss("weighted_sum", losses=[elu, "bce_loss"], weights=[1.0, 0.2])
        >>> loss.losses[0].options["margin"]
        'elu'
    """
    if isinstance(loss, Mapping):
        if "name" not in loss:
            raise ValueError(f'the loss {dict(loss)} has no name: give it one of list_losses() as "name"')
        options = {**{key: value for key, value in loss.items() if key != "name"}, **options}
        loss = loss["name"]
    if not isinstance(loss, str):
        raise TypeError(f"a loss is given by a name or a table with a name, got {loss!r}")
    if loss not in _losses:
        close = difflib.get_close_matches(loss, _losses, n=3, cutoff=0.5)
        hint = f"Did you mean {' or '.join(map(repr, close))}? " if close else ""
        raise ValueError(f"unknown loss {loss!r}. {hint}There are: {', '.join(list_losses())}")
    return _losses[loss](**{key: _inner(key, value) for key, value in options.items()})


def _inner(key: str, value: Any) -> Any:
    if key == "loss" and isinstance(value, str | Mapping):
        return create_loss(value)
    if key == "losses" and isinstance(value, list | tuple):
        return [create_loss(item) if isinstance(item, str | Mapping) else item for item in value]
    return value
