"""Bottleneck attention (BAM).

Park, Woo, Lee, Kweon: "BAM: Bottleneck Attention Module", arXiv 1807.06514.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .._checks import check_choice, check_counts
from .._torch import autocast_off, transforms_active
from ._gates import check_map, hidden_width, mean_pixels, pixel_rows
from .conv import ConvNormAct
from .norm import PooledBatchNorm

GATES = ("add", "mul")


class BAM(nn.Module):
    """Attention that adds to every value its product with a gate from a channel branch and a pixel branch.

    `y = x + x * sigmoid(c + s)`. The channel branch c (N C 1 1) is two linear layers on the global average of the
    map. The pixel branch s (N 1 H W) is a 1x1 convolution, two dilated 3x3 convolutions and a 1x1 convolution. Batch
    norm follows every layer, and ReLU all but the last of each branch. The paper places the module before each
    downsampling.

    The gate has the size of the map. The backward pass computes it again, and so keeps no tensor of that size but the
    input.

    Args:
        channels: C, at least 1.
        reduction: factor by which both branches narrow, to `max(1, channels // reduction)`.
        dilation: dilation of the 3x3 convolutions.
        gate: "add" as above, which is the paper; "mul" for `sigmoid(c * s)` without the last norm of each branch,
            which is the authors' code.

    Shape:
        N C H W -> N C H W; dtype and memory format are kept.

    Example:
        >>> BAM(32)(torch.randn(2, 32, 5, 7)).shape
        torch.Size([2, 32, 5, 7])
    """

    def __init__(self, channels: int, *, reduction: int = 16, dilation: int = 4, gate: str = "add") -> None:
        super().__init__()
        check_choice("gate", gate, GATES)
        check_counts(dilation=dilation)
        hidden = hidden_width(channels, reduction)
        last_norm = gate == "add"
        self.gate = gate
        self.squeeze: nn.Linear = nn.Linear(channels, hidden, bias=False)
        self.squeeze_norm: PooledBatchNorm = PooledBatchNorm(hidden)
        self.excite: nn.Linear = nn.Linear(hidden, channels, bias=not last_norm)
        self.excite_norm: PooledBatchNorm | nn.Identity = PooledBatchNorm(channels) if last_norm else nn.Identity()
        self.spatial: nn.Sequential = nn.Sequential(
            ConvNormAct(channels, hidden, kernel_size=1),
            ConvNormAct(hidden, hidden, dilation=dilation),
            ConvNormAct(hidden, hidden, dilation=dilation),
            nn.Conv2d(hidden, 1, kernel_size=1, bias=not last_norm),
            PooledBatchNorm(1) if last_norm else nn.Identity(),
        )

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        check_map(x, self.squeeze.in_features)
        # Autocast off: the channel branch is tiny and stays exact.
        with autocast_off(x):
            pooled = mean_pixels(x).to(self.squeeze.weight.dtype)  # N C
            hidden = F.relu(self.squeeze_norm(self.squeeze(pooled)))  # N C/r
            channel = self.excite_norm(self.excite(hidden))[:, :, None, None]  # N C 1 1
        pixel = self.spatial(x)  # N 1 H W
        return _add_gated(x, channel.to(x.dtype), pixel.to(x.dtype), self.gate == "mul")  # N C H W


def _add_gated(x: Tensor, channel: Tensor, pixel: Tensor, multiply: bool) -> Tensor:
    """Return `x + x * sigmoid(c + s)`, or `x + x * sigmoid(c * s)`."""
    if transforms_active():  # for which `_AddGated` has no rules
        return x + x * (channel * pixel if multiply else channel + pixel).sigmoid()
    return _AddGated.apply(x, channel, pixel, multiply)


class _AddGated(torch.autograd.Function):
    """`x + x * sigmoid(c + s)`, or `x + x * sigmoid(c * s)`; autograd would keep the gate in addition to x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, channel: Tensor, pixel: Tensor, multiply: bool) -> Tensor:
        ctx.save_for_backward(x, channel, pixel)
        ctx.multiply = multiply
        return torch.addcmul(x, x, _gate(x, channel, pixel, multiply))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, channel, pixel = ctx.saved_tensors
        # A caller may run backward under autocast, which would round the small matrix products.
        with autocast_off(grad):
            gate = _gate(x, channel, pixel, ctx.multiply)  # N C H W
            d_logit = torch.ops.aten.sigmoid_backward(grad * x, gate)  # N C H W
            if ctx.multiply:
                d_channel = torch.bmm(pixel_rows(d_logit), pixel_rows(pixel).mT)[..., None]  # N C 1 1
                d_pixel = torch.bmm(pixel_rows(channel).mT, pixel_rows(d_logit)).view(pixel.shape)  # N 1 H W
            else:
                d_channel = d_logit.sum((2, 3), keepdim=True)  # N C 1 1
                d_pixel = d_logit.sum(1, keepdim=True)  # N 1 H W
            return torch.addcmul(grad, grad, gate), d_channel, d_pixel, None


def _gate(x: Tensor, channel: Tensor, pixel: Tensor, multiply: bool) -> Tensor:
    """Return the gate N C H W of c N C 1 1 and s N 1 H W, in the memory format of x."""
    # The shapes of c and s do not determine the memory format, so the output is allocated like x. A second derivative
    # cannot differentiate through `out`, and a compiler fuses these operations and needs no `out`.
    differentiable = torch.is_grad_enabled() or torch.compiler.is_compiling()
    out = None if differentiable else torch.empty_like(x)
    merged = torch.mul(channel, pixel, out=out) if multiply else torch.add(channel, pixel, out=out)
    return merged.sigmoid_()
