"""Transforms of `torch.func`, and memory formats, which `torch.vmap` does not tell."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd import forward_ad


def transforms_active() -> bool:
    """Return whether a transform of `torch.func`, such as `vmap` or `grad`, or forward-mode differentiation is active.

    They differentiate and batch any torch operations, but not an autograd function without rules for them. Inside
    `torch.compile` the answer is the same.

    Example:
        >>> transforms_active()
        False
        >>> torch.vmap(lambda x: x + transforms_active())(torch.zeros(2))
        tensor([1., 1.])
    """
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0


def memory_layout(x: Tensor) -> torch.memory_format:
    """Return `torch.channels_last` if a map N C H W has this memory format, else `torch.contiguous_format`.

    A map that has both formats, as one of a single channel or a single pixel does, counts as channels_last. Inside a
    transform, where `vmap` does not tell memory formats, the answer is `torch.contiguous_format`.

    Example:
        >>> memory_layout(torch.zeros(1, 2, 3, 3)), memory_layout(torch.zeros(1, 3, 3, 2).permute(0, 3, 1, 2))
        (torch.contiguous_format, torch.channels_last)
    """
    last = not transforms_active() and x.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last else torch.contiguous_format


def is_channels_last_only(x: Tensor) -> bool:
    """Return whether a map N C H W has the memory format channels_last and is not contiguous; False in a transform."""
    return memory_layout(x) == torch.channels_last and not x.is_contiguous()
