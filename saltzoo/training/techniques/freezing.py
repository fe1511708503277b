"""Freezing: parts of a model that do not learn, for a while or for good."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def freeze(module: nn.Module) -> None:
    """No parameter of the module learns; gradients that it has are dropped.

    Batch norms still follow their batches: see `keep_batch_norm_frozen`.

    Example:
        >>> layer = nn.Linear(2, 2)
        >>> freeze(layer)
        >>> [parameter.requires_grad for parameter in layer.parameters()]
        [False, False]
    """
    set_learning(module.parameters(), learns=False)


def unfreeze(module: nn.Module) -> None:
    """All parameters of the module learn.

    Example:
        >>> layer = nn.Linear(2, 2).requires_grad_(False)
        >>> unfreeze(layer)
        >>> [parameter.requires_grad for parameter in layer.parameters()]
        [True, True]
    """
    set_learning(module.parameters(), learns=True)


def keep_batch_norm_frozen(module: nn.Module) -> None:
    """Batch norms of the module normalise by the statistics that they have, and keep them, in training too.

    They stay in evaluation mode whatever `train()` is called on, in copies as well (averages of the weights, for
    one). Their weights and biases learn on: `freeze` is for these. Make a model's norms synchronous, where they are to
    be, before this.

    Args:
        module: a model, or a part of it such as `model.encoder`.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
        >>> keep_batch_norm_frozen(net)
        >>> [part.training for part in net.train()]
        [True, False]
    """
    for norm in _batch_norms(module):
        # In place of the method, on this module alone. A partial, so that a copy of the norm keeps the copy.
        vars(norm)["train"] = partial(_train_but_the_norm, norm)
        norm.train(norm.training)


def release_batch_norm(module: nn.Module) -> None:
    """Takes `keep_batch_norm_frozen` back: batch norms are in the module's mode again, and follow it.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
        >>> keep_batch_norm_frozen(net)
        >>> release_batch_norm(net)
        >>> net[1].training
        True
    """
    for norm in _batch_norms(module):
        if vars(norm).pop("train", None) is not None:
            norm.train(module.training if norm is not module else True)


def learning_batch_norms(module: nn.Module) -> list[_BatchNorm]:
    """Batch norms of the module that have statistics, and are not kept frozen."""
    return [norm for norm in _batch_norms(module) if norm.track_running_stats and not _is_kept(norm)]


def set_learning(parameters: Iterable[nn.Parameter], *, learns: bool) -> None:
    """Whether these learn; gradients of those that do not are dropped."""
    for parameter in parameters:
        parameter.requires_grad_(learns)
        if not learns:
            parameter.grad = None  # an optimiser would go on with it


def _batch_norms(module: nn.Module) -> list[_BatchNorm]:
    return [part for part in module.modules() if isinstance(part, _BatchNorm)]


def _is_kept(norm: nn.Module) -> bool:
    return "train" in vars(norm)


def _train_but_the_norm(norm: nn.Module, mode: bool = True) -> nn.Module:
    """`norm.train`, for its parts alone: timm's have an activation inside."""
    type(norm).train(norm, mode)
    norm.training = False
    return norm
