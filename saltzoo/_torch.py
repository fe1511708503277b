"""Helpers around torch that many files share."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

from ._checks import check_ignore_index


def autocast_off(x: Tensor) -> AbstractContextManager[Any]:
    """Return a context that switches autocast off on the device of `x`, so that float32 code stays in float32.

    On a device without autocast, such as "meta", the context does nothing.

    Example:
        >>> x = torch.ones(2, 2)
        >>> with torch.autocast("cpu", torch.bfloat16):
        ...     rounded = x @ x
        ...     with autocast_off(x):
        ...         exact = x @ x
        >>> rounded.dtype, exact.dtype
        (torch.bfloat16, torch.float32)
    """
    if x.device.type == "meta":
        return nullcontext()
    return torch.autocast(x.device.type, enabled=False)


class HasModules(Protocol):
    """A model whose modules can be listed."""

    def modules(self) -> Iterator[nn.Module]:
        """The module and everything in it."""


@contextmanager
def modes_restored(model: HasModules) -> Iterator[None]:
    """Restore the training mode of every module of a model when the block ends.

    Example:
        >>> model = nn.Sequential(nn.Dropout())
        >>> with modes_restored(model):
        ...     _ = model.eval()
        >>> model.training, model[0].training
        (True, True)
    """
    modes = {module: module.training for module in model.modules()}
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


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


def _name_of_wrapped(model: nn.Module) -> str:
    if isinstance(model, (DataParallel, DistributedDataParallel, AveragedModel)):
        return "module"
    dynamo = sys.modules.get("torch._dynamo")  # its import takes a second, and there is no compiled model without it
    return "_orig_mod" if dynamo is not None and isinstance(model, dynamo.OptimizedModule) else ""


def valid_pixels(target: Tensor, ignore_index: int | None) -> Tensor | None:
    """Return which pixels of a target count: bool in the target's shape, or None if all do.

    Raises:
        TypeError: if `ignore_index` is neither an integer nor None.
        ValueError: if `ignore_index` cannot occur in a target of this dtype.

    Example:
        >>> valid_pixels(torch.tensor([0, 255, 1], dtype=torch.uint8), 255)
        tensor([ True, False,  True])
    """
    check_ignore_index(ignore_index)
    if ignore_index is None:
        return None
    if not target.is_floating_point():
        # Without this check torch wraps the number: -100 would ignore the value 156 of a uint8 target.
        low, high = (0, 1) if target.dtype == torch.bool else _range(target.dtype)
        if not low <= ignore_index <= high:
            raise ValueError(
                f"ignore_index={ignore_index} cannot occur in a target of {target.dtype}, which holds {low} to "
                f"{high}. Give the target in a wider dtype, as in target.long(), or leave ignore_index at None."
            )
    return target != ignore_index


def _range(dtype: torch.dtype) -> tuple[int, int]:
    info = torch.iinfo(dtype)
    return info.min, info.max


def device_name(device: torch.device) -> str:
    """Return the manufacturer's name of a GPU or of the processor."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
