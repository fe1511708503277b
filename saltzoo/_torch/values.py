"""Whether checks may read the values of a tensor, and by how much rounding moves them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch._C import _functorch as functorch


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
