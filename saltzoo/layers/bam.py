"""Bottleneck attention (BAM).

Park, Woo, Lee, Kweon: "BAM: Bottleneck Attention Module", arXiv 1807.06514.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .._torch import autocast_off
from .conv import ConvNormAct
from .gates import check_map, mean_pixels, narrowed
from .norm import PooledBatchNorm

GATES = ("add", "mul")


class BAM(nn.Module):
    """Adds to every value its product with a gate, made of one map over channels and one over pixels.

    `y = x + x * sigmoid(c + s)`: c (N C 1 1) comes from the globally averaged map through two linear layers, s
    (N 1 H W) from a 1x1 convolution, two 3x3 dilated ones and a 1x1 one. All have a batch norm after them, the
    inner ones a ReLU too. In a network it stands where the map is about to be made smaller.

    The gate is as large as the map. It is made again in the backward pass, which keeps nothing of that size
    but the input.

    Args:
        channels: C, at least 1.
        reduction: both branches narrow to `max(1, channels // reduction)`.
        dilation: of the two 3x3 convolutions.
        gate: "add" as above, which is the paper; "mul" for `sigmoid(c * s)` without the two closing norms, which
            is the authors' code.

    Shape:
        N C H W in, N C H W out; dtype and memory format are kept.

    Example:
        >>> BAM(32)(torch.randn(2, 32, 5, 7)).shape
        torch.Size([2, 32, 5, 7])
    """

    def __init__(self, channels: int, *, reduction: int = 16, dilation: int = 4, gate: str = "add") -> None:
        super().__init__()
        if gate not in GATES:
            raise ValueError(f"unknown gate {gate!r}: choose one of {GATES}")
        if dilation < 1:
            raise ValueError(f"dilation must be at least 1, got {dilation}")
        hidden = narrowed(channels, reduction)
        closing_norm = gate == "add"
        self.gate = gate
        self.squeeze = nn.Linear(channels, hidden, bias=False)
        self.squeeze_norm = PooledBatchNorm(hidden)
        self.excite = nn.Linear(hidden, channels, bias=not closing_norm)
        self.excite_norm = PooledBatchNorm(channels) if closing_norm else nn.Identity()
        self.spatial = nn.Sequential(
            ConvNormAct(channels, hidden, kernel_size=1),
            ConvNormAct(hidden, hidden, dilation=dilation),
            ConvNormAct(hidden, hidden, dilation=dilation),
            nn.Conv2d(hidden, 1, kernel_size=1, bias=not closing_norm),
            PooledBatchNorm(1) if closing_norm else nn.Identity(),
        )

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        check_map(x, self.squeeze.in_features)
        # Autocast off: the channel branch is tiny and stays exact.
        with autocast_off(x):
            pooled = mean_pixels(x).to(self.squeeze.weight.dtype)  # N C
            hidden = F.relu(self.squeeze_norm(self.squeeze(pooled)))  # N C/r
            channel = self.excite_norm(self.excite(hidden))[:, :, None, None]  # N C 1 1
        pixel = self.spatial(x)  # N 1 H W
        return _AddGated.apply(x, channel.to(x.dtype), pixel.to(x.dtype), self.gate == "mul")


class _AddGated(torch.autograd.Function):
    """`x + x * sigmoid(c + s)`, or of `c * s`; autograd would keep the sigmoid besides x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, channel: Tensor, pixel: Tensor, multiply: bool) -> Tensor:
        ctx.save_for_backward(x, channel, pixel)
        ctx.multiply = multiply
        return torch.addcmul(x, x, _gate(x, channel, pixel, multiply))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, channel, pixel = ctx.saved_tensors
        # Off here too, if backward is called under it: it would round the small matrix products.
        with autocast_off(grad):
            gate = _gate(x, channel, pixel, ctx.multiply)
            d_logit = torch.ops.aten.sigmoid_backward(grad * x, gate)  # N C H W
            if ctx.multiply:
                d_channel = torch.bmm(d_logit.flatten(2), pixel.flatten(2).mT)[..., None]  # N C 1 1
                d_pixel = torch.bmm(channel.flatten(2).mT, d_logit.flatten(2)).view_as(pixel)  # N 1 H W
            else:
                d_channel = d_logit.sum((2, 3), keepdim=True)  # N C 1 1
                d_pixel = d_logit.sum(1, keepdim=True)  # N 1 H W
            return torch.addcmul(grad, grad, gate), d_channel, d_pixel, None


def _gate(x: Tensor, channel: Tensor, pixel: Tensor, multiply: bool) -> Tensor:
    """N C 1 1 and N 1 H W -> N C H W, in the memory format of x, which the two can't tell."""
    # A second derivative follows no `out`, and a compiler, which fuses all this, needs none.
    free = torch.is_grad_enabled() or torch.compiler.is_compiling()
    out = None if free else torch.empty_like(x)
    merged = torch.mul(channel, pixel, out=out) if multiply else torch.add(channel, pixel, out=out)
    return merged.sigmoid_()
