"""How a model differs from the one that was built from its options."""

from __future__ import annotations

import re
from collections.abc import Iterator

from torch import nn

from .._torch import names_without_wrappers

_SAME_AS = {
    "PooledBatchNorm": "BatchNorm2d",
    "SyncBatchNorm": "BatchNorm2d",
    "BatchNorm1d": "BatchNorm2d",
    "SyncBatchNormAct": "BatchNormAct2d",
}
"""Kinds of layers that compute the same in evaluation mode. Such layers of several processes replace the others in
training."""

_NO_EFFECT = re.compile(r"(, )?(inplace|momentum)=[^,]*")
"""Settings that do not change what a network computes in evaluation mode."""


def modules_of(model: nn.Module) -> dict[str, nn.Module]:
    """Return the modules by name, as they are without wrappers inside the model."""
    names = names_without_wrappers(model)
    return {names[name]: module for name, module in model.named_modules(remove_duplicate=False)}


def other_modules(model: nn.Module, built: nn.Module, *, dropout: bool = False) -> Iterator[str]:
    """Yield, in words, the modules of a model whose kind or settings are not those of another model.

    Args:
        model: model that may have been changed, with wrappers in it or without.
        built: model that it should be.
        dropout: whether rates of dropout count, which have an effect in training only.

    Example:
        >>> list(other_modules(nn.Sequential(nn.ReLU()), nn.Sequential(nn.GELU())))
        ['0 is a ReLU and was built as a GELU']
    """
    modules, others = modules_of(model), modules_of(built)
    yield from (f"{name} is missing" for name in others if name not in modules)
    for name, module in modules.items():
        if name not in others:
            yield f"{name} ({type(module).__name__}) is added"
        elif _kind(module) != _kind(others[name]):
            yield f"{name} is a {type(module).__name__} and was built as a {type(others[name]).__name__}"
        elif _settings(module, dropout) != _settings(others[name], dropout):
            yield f"{name} is {_words(module)} and was built as {_words(others[name])}"


def patched(model: nn.Module, built: nn.Module) -> Iterator[str]:
    """Yield, in words, the modules of a model with a `forward` of their own or more hooks than another model has.

    Both models have modules of the same names.

    Example:
        >>> layer = nn.ReLU()
        >>> layer.forward = lambda x: x
        >>> list(patched(nn.Sequential(layer), nn.Sequential(nn.ReLU())))
        ['0 (ReLU) has a forward of its own']
    """
    others = modules_of(built)
    for name, module in modules_of(model).items():
        what = f"{name or 'the model'} ({type(module).__name__})"
        if "forward" in vars(module) and "forward" not in vars(others[name]):
            yield f"{what} has a forward of its own"
        if _hooks(module) > _hooks(others[name]):
            yield f"{what} has forward hooks"


def _hooks(module: nn.Module) -> int:
    return len(module._forward_hooks) + len(module._forward_pre_hooks)


def _kind(module: nn.Module) -> str:
    name = type(module).__name__
    return _SAME_AS.get(name, name)


def _settings(module: nn.Module, dropout: bool) -> str:
    """Return what torch prints of a layer, without settings that have no effect."""
    if not type(module).extra_repr.__module__.startswith("torch.nn."):
        return ""
    return "" if "Drop" in type(module).__name__ and not dropout else _NO_EFFECT.sub("", module.extra_repr())


def _words(module: nn.Module) -> str:
    return f"{type(module).__name__}({module.extra_repr()})"
