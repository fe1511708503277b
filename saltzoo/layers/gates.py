"""What the attention layers share: a map is checked, averaged, and projected to one channel."""

from __future__ import annotations

import torch
from torch import Tensor


def check_map(x: Tensor, channels: int | None = None) -> None:
    """Refuses what is not a map.

    Args:
        x: anything.
        channels: C; None takes any.

    Raises:
        ValueError: if x is not N C H W.

    Example:
        >>> check_map(torch.zeros(2, 3, 8, 8), 3)
    """
    if x.ndim != 4 or channels not in (None, x.shape[1]):
        raise ValueError(
            f"expected a map N {'C' if channels is None else channels} H W, got {tuple(x.shape)}; "
            f"one image C H W becomes a batch with x[None]"
        )


def narrowed(channels: int, reduction: int) -> int:
    """The width of a channel branch inside: `channels // reduction`, and never below 1.

    Raises:
        ValueError: if either is below 1.

    Example:
        >>> narrowed(64, 16), narrowed(8, 16)
        (4, 1)
    """
    if channels < 1 or reduction < 1:
        raise ValueError(f"channels and reduction must be at least 1, got {channels} and {reduction}")
    return max(1, channels // reduction)


def sum_pixels(x: Tensor) -> Tensor:
    """The sum of each channel, in float32 at least: one in float16 overflows.

    Shape:
        N C H W -> N C

    Example:
        >>> sum_pixels(torch.ones(1, 2, 300, 300, dtype=torch.float16))
        tensor([[90000., 90000.]])
    """
    exact = torch.promote_types(x.dtype, torch.float32)
    # A CPU would write the whole map in float32 first; its own sum of bfloat16 adds in float32 too, and rounds once.
    if x.dtype == torch.bfloat16 and x.device.type == "cpu" and not torch.compiler.is_compiling():
        return x.sum((2, 3)).to(exact)
    return x.sum((2, 3), dtype=exact)


def mean_pixels(x: Tensor) -> Tensor:
    """The mean of each channel, in float32 at least.

    Shape:
        N C H W -> N C

    Example:
        >>> mean_pixels(torch.ones(1, 2, 300, 300, dtype=torch.float16))
        tensor([[1., 1.]])
    """
    return sum_pixels(x) / (x.shape[2] * x.shape[3])


def project(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A 1x1 convolution to one channel, in the dtype of the map.

    Args:
        x: the map.
        weight: 1 C 1 1.
        bias: 1, or None.

    Shape:
        N C H W -> N 1 H W

    Example:
        >>> project(torch.ones(1, 3, 2, 2), torch.ones(1, 3, 1, 1), torch.ones(1))[0]
        tensor([[[4., 4.],
                 [4., 4.]]])
    """
    weight = weight.to(x.dtype)
    if torch.compiler.is_compiling():  # a compiler fuses a sum into one pass, and leaves a convolution alone
        projected = (x * weight).sum(1, keepdim=True)
    else:
        # Not a convolution: that brings a map in NCHW into another layout first.
        rows = weight.reshape(1, 1, -1).expand(x.shape[0], -1, -1)
        projected = torch.bmm(rows, x.flatten(2)).unflatten(2, x.shape[2:])
    return projected if bias is None else projected + bias.to(x.dtype).view(1, 1, 1, 1)
