"""Operations that the attention layers share: the check of a map, pooling over pixels, projection to one channel."""

from __future__ import annotations

import torch
from torch import Tensor

from .._checks import check_counts


def check_map(x: Tensor, channels: int | None = None) -> None:
    """Raise ValueError if a tensor is not a map N C H W, or has other than the expected number of channels.

    Args:
        x: tensor to check.
        channels: expected C; None accepts any.

    Example:
        >>> check_map(torch.zeros(2, 3, 8, 8), 3)
    """
    if x.ndim != 4 or channels not in (None, x.shape[1]):
        raise ValueError(
            f"expected a map N {'C' if channels is None else channels} H W, got {tuple(x.shape)}; "
            f"one image C H W becomes a batch with x[None]"
        )


def hidden_width(channels: int, reduction: int) -> int:
    """Return the number of hidden channels of a channel branch: `channels // reduction`, at least 1.

    Raises:
        ValueError: if `channels` or `reduction` is below 1.

    Example:
        >>> hidden_width(64, 16), hidden_width(8, 16)
        (4, 1)
    """
    check_counts(channels=channels, reduction=reduction)
    return max(1, channels // reduction)


def sum_pixels(x: Tensor) -> Tensor:
    """Return the sum of each channel, in float32 or wider: a sum in float16 overflows.

    Shape:
        N C H W -> N C

    Example:
        >>> sum_pixels(torch.ones(1, 2, 300, 300, dtype=torch.float16))
        tensor([[90000., 90000.]])
    """
    exact = torch.promote_types(x.dtype, torch.float32)
    # With dtype=float32 a CPU first copies the whole map; its sum of bfloat16 accumulates in float32 and rounds once.
    if x.dtype == torch.bfloat16 and x.device.type == "cpu" and not torch.compiler.is_compiling():
        return x.sum((2, 3)).to(exact)
    return x.sum((2, 3), dtype=exact)


def mean_pixels(x: Tensor) -> Tensor:
    """Return the mean of each channel, in float32 or wider.

    Shape:
        N C H W -> N C

    Example:
        >>> mean_pixels(torch.ones(1, 2, 300, 300, dtype=torch.float16))
        tensor([[1., 1.]])
    """
    return sum_pixels(x) / (x.shape[2] * x.shape[3])


def pixel_rows(x: Tensor) -> Tensor:
    """Return a map with its pixels in one row for each channel.

    Equals `x.flatten(2)`, and also works in the `vmap` of `torch.autograd.grad(is_grads_batched=True)`.

    Shape:
        N C H W -> N C HW

    Example:
        >>> pixel_rows(torch.zeros(0, 2, 3, 4)).shape
        torch.Size([0, 2, 12])
    """
    return x.reshape(x.shape[0], x.shape[1], x.shape[2] * x.shape[3])


def project_to_one(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return a 1x1 convolution of a map to one channel, in the dtype of the map.

    Args:
        x: map N C H W.
        weight: filter 1 C 1 1.
        bias: bias of one element, or None.

    Shape:
        N C H W -> N 1 H W

    Example:
        >>> project_to_one(torch.ones(1, 3, 2, 2), torch.ones(1, 3, 1, 1), torch.ones(1))[0]
        tensor([[[4., 4.],
                 [4., 4.]]])
    """
    weight = weight.to(x.dtype)
    if torch.compiler.is_compiling():
        # A compiler fuses a sum into one pass over the map; it does not fuse a convolution.
        projected = (x * weight).sum(1, keepdim=True)
    else:
        # A convolution would first copy a contiguous map to another memory format.
        rows = weight.reshape(1, 1, -1).expand(x.shape[0], -1, -1)  # N 1 C
        projected = torch.bmm(rows, x.flatten(2)).unflatten(2, x.shape[2:])  # N 1 H W
    return projected if bias is None else projected + bias.to(x.dtype).view(1, 1, 1, 1)
