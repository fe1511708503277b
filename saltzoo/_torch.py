"""Helpers around torch that many files share."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch._C import _functorch as functorch

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


def is_readable(tensor: Tensor) -> bool:
    """Return whether Python can read the values of a tensor, at once and without a trace.

    It cannot on a GPU, where it would have to wait; on the "meta" device and in a FakeTensor, which have no values;
    within torch.vmap, where a tensor stands for many; and while torch.compile, torch.export or make_fx records.

    Example:
        >>> is_readable(torch.ones(2)), is_readable(torch.ones(2, device="meta"))
        (True, False)
    """
    if tensor.device.type != "cpu" or torch.compiler.is_compiling():
        return False
    # A mode or a subclass that stands between Python and the kernels may record, or hold no values.
    if torch._C._len_torch_dispatch_stack() or torch._ops._len_torch_dispatch_stack_pre_dispatch():
        return False
    return type(tensor).__torch_dispatch__ is Tensor.__torch_dispatch__ and not is_batched(tensor)


def is_batched(tensor: Tensor) -> bool:
    """Return whether torch.vmap gave the tensor, which then stands for many. Within torch.compile it is never known.

    Example:
        >>> torch.vmap(lambda x: x + is_batched(x))(torch.zeros(2))
        tensor([1., 1.])
    """
    if torch.compiler.is_compiling():
        return False
    while functorch.is_functorch_wrapped_tensor(tensor):  # also that of torch.func.grad
        if functorch.is_batchedtensor(tensor):
            return True
        tensor = functorch.get_unwrapped(tensor)
    return False


def rounding(dtype: torch.dtype) -> float:
    """Return by how much rounding may carry values above 1, as in a resized mask; 0 for integers.

    Example:
        >>> rounding(torch.float32), rounding(torch.uint8)
        (1e-06, 0.0)
    """
    return max(1e-6, 2 * torch.finfo(dtype).eps) if dtype.is_floating_point else 0.0


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
