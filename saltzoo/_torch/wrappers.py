"""Wrappers of models: torch.compile, parallel modules and averages of weights."""

from __future__ import annotations

import sys

from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.optim.swa_utils import AveragedModel


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the module inside wrappers: torch.compile, DataParallel, DistributedDataParallel and averages of weights.

    Example:
        >>> model = nn.Linear(1, 1)
        >>> unwrapped(nn.DataParallel(AveragedModel(model))) is model  # the average is a copy
        False
        >>> unwrapped(nn.DataParallel(model)) is model
        True
    """
    while name := _name_of_wrapped(model):
        model = model.get_submodule(name)
    return model


def wrapper_hint(model: object) -> str:
    """Return which attribute of a wrapped model to pass, as the end of an error message.

    Example:
        >>> wrapper_hint(nn.DataParallel(nn.DataParallel(nn.ReLU())))
        'Of a wrapped model, pass the ReLU inside, `.module.module`'
    """
    place, inside = "", model
    while isinstance(inside, nn.Module) and (name := _name_of_wrapped(inside)):
        place, inside = f"{place}.{name}", inside.get_submodule(name)
    if place:
        return f"Of a wrapped model, pass the {type(inside).__name__} inside, `{place}`"
    return "Of a wrapped model, pass the model inside (`.module`)"


def names_without_wrappers(model: nn.Module) -> dict[str, str]:
    """Return the name of every module and the name that it would have without the wrappers in the model.

    Example:
        >>> names_without_wrappers(nn.Sequential(nn.DataParallel(nn.ReLU())))
        {'': '', '0': '0', '0.module': '0'}
    """
    modules = dict(model.named_modules(remove_duplicate=False))
    names = {"": ""}
    for name in list(modules)[1:]:
        parent, _, last = name.rpartition(".")
        inside = _name_of_wrapped(modules[parent]) == last
        names[name] = names[parent] if inside else f"{names[parent]}.{last}".lstrip(".")
    return names


def without_wrappers(view: nn.Module) -> nn.Module:
    """Remove the wrappers from an `evaluation_view`, in place, and return the module inside: nothing is compiled.

    Example:
        >>> without_wrappers(nn.Sequential(nn.DataParallel(nn.ReLU())))
        Sequential(
          (0): ReLU()
        )
    """
    view = unwrapped(view)
    if view._compiled_call_impl is not None:
        view._compiled_call_impl = None
    for name, child in list(view._modules.items()):
        if child is not None and (inside := without_wrappers(child)) is not child:
            setattr(view, name, inside)
    return view


def _name_of_wrapped(model: nn.Module) -> str:
    if isinstance(model, (DataParallel, DistributedDataParallel, AveragedModel)):
        return "module"
    dynamo = sys.modules.get("torch._dynamo")  # its import takes a second, and there is no compiled model without it
    return "_orig_mod" if dynamo is not None and isinstance(model, dynamo.OptimizedModule) else ""
