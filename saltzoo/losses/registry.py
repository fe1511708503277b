"""Losses by name, so that a recipe's file can choose them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from .._checks import closest
from .bce import BCELoss
from .bce_dice import BCEDiceLoss
from .bootstrapped import BootstrappedBCELoss, BootstrappedCELoss
from .ce import CELoss
from .deep_supervision import DeepSupervisionLoss
from .dice import DiceLoss
from .focal import FocalLoss
from .generalized_dice import GeneralizedDiceLoss
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
    "generalized_dice_loss": GeneralizedDiceLoss,
    "jaccard_loss": JaccardLoss,
    "lovasz_hinge": LovaszHingeLoss,
    "lovasz_softmax": LovaszSoftmaxLoss,
    "topology_loss": TopologyLoss,
    "tversky_loss": TverskyLoss,
    "weighted_sum": WeightedSum,
}


def list_losses() -> list[str]:
    """Return the names that `create_loss` takes, sorted."""
    return sorted(_losses)


def register_loss(name: str, build: Callable[..., nn.Module]) -> None:
    """Add a loss to those that `create_loss` knows.

    Args:
        name: new name.
        build: `(**options) -> module`, called as `loss(logits, target)`, such as the module's class.

    Raises:
        ValueError: if the name is taken.
    """
    if name in _losses:
        raise ValueError(f"a loss named {name!r} exists already: choose another name")
    _losses[name] = build


def create_loss(loss: Config, /, **options: Any) -> nn.Module:
    """Build a loss module by its name.

    "weighted_sum" and "deep_supervision" contain other losses. These are given in the same way, by a name or by a
    table of a name and options, as a TOML or JSON file holds it.

    Args:
        loss: name from `list_losses()`, or a table with the key "name" and options beside it.
        options: options of the loss.

    Raises:
        TypeError: if the loss does not have an option, or `loss` is neither a name nor a table.
        ValueError: if the name is unknown, or the loss refuses an option.

    Example:
        >>> elu = {"name": "lovasz_hinge", "margin": "elu", "symmetric": True}
        >>> loss = create_loss("weighted_sum", losses=[elu, "bce_loss"], weights=[1.0, 0.2])
        >>> loss.losses[0].margin
        'elu'
    """
    if isinstance(loss, Mapping):
        if "name" not in loss:
            raise ValueError(f'a table of a loss needs the key "name", got {dict(loss)}: give a name of list_losses()')
        options = {**{key: value for key, value in loss.items() if key != "name"}, **options}
        loss = loss["name"]
    if not isinstance(loss, str):
        raise TypeError(f"a loss must be a name or a table with a name, got {loss!r}")
    if loss not in _losses:
        hint = closest(loss, _losses)
        raise ValueError(f"unknown loss {loss!r}. {hint and f'{hint} '}There are: {', '.join(list_losses())}")
    return _losses[loss](**{key: _inner(key, value) for key, value in options.items()})


def _inner(key: str, value: Any) -> Any:
    """Build the losses within an option; return any other option as it is."""
    if key == "loss" and isinstance(value, str | Mapping):
        return create_loss(value)
    if key == "losses" and isinstance(value, list | tuple):
        return [create_loss(item) if isinstance(item, str | Mapping) else item for item in value]
    return value
