"""Freezing of parameters and of batch-norm statistics."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def freeze(module: nn.Module) -> None:
    """Stop the training of all parameters of a module, and drop their gradients.

    Batch norms still update their statistics: see `keep_batch_norm_frozen`.

    Example:
        >>> layer = nn.Linear(2, 2)
        >>> freeze(layer)
        >>> [parameter.requires_grad for parameter in layer.parameters()]
        [False, False]
    """
    set_learning(module.parameters(), learns=False)


def unfreeze(module: nn.Module) -> None:
    """Resume the training of all parameters of a module.

    Example:
        >>> layer = nn.Linear(2, 2).requires_grad_(False)
        >>> unfreeze(layer)
        >>> [parameter.requires_grad for parameter in layer.parameters()]
        [True, True]
    """
    set_learning(module.parameters(), learns=True)


def keep_batch_norm_frozen(module: nn.Module) -> None:
    """Make the batch norms of a module use and keep their present statistics, in training mode too.

    The norms stay in evaluation mode after `train()`, and so do those of copies, such as averages of the weights.
    Their weights and biases are still trained: use `freeze` for those. Convert norms to synchronised ones before this
    call, not after it.

    Args:
        module: model, or part of one such as `model.encoder`.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
        >>> keep_batch_norm_frozen(net)
        >>> [part.training for part in net.train()]
        [True, False]
    """
    for norm in _batch_norms(module):
        # An attribute replaces the method on this module alone. It is a partial, so that a copied norm holds its copy.
        vars(norm)["train"] = partial(_train_but_the_norm, norm)
        norm.train(norm.training)


def release_batch_norm(module: nn.Module) -> None:
    """Undo `keep_batch_norm_frozen`: batch norms take the mode of the module and follow it.

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
    """Return the batch norms of a module that have statistics and are not kept frozen."""
    return [norm for norm in _batch_norms(module) if norm.track_running_stats and not _is_kept(norm)]


def set_learning(parameters: Iterable[nn.Parameter], *, learns: bool) -> None:
    """Switch the training of parameters on or off; when off, drop their gradients."""
    for parameter in parameters:
        parameter.requires_grad_(learns)
        if not learns:
            parameter.grad = None  # an optimiser would still apply it


def _batch_norms(module: nn.Module) -> list[_BatchNorm]:
    return [part for part in module.modules() if isinstance(part, _BatchNorm)]


def _is_kept(norm: nn.Module) -> bool:
    return "train" in vars(norm)


def _train_but_the_norm(norm: nn.Module, mode: bool = True) -> nn.Module:
    """Set the mode of the norm's submodules, but not of the norm: norms of timm contain an activation."""
    type(norm).train(norm, mode)
    norm.training = False
    return norm
