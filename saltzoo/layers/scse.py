"""Concurrent spatial and channel squeeze and excitation (scSE).

Roy, Navab, Wachinger: "Concurrent Spatial and Channel Squeeze & Excitation in Fully Convolutional
Networks", arXiv 1803.02579, and "Recalibrating Fully Convolutional Networks", arXiv 1808.08127.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SCSE(nn.Module):
    """Scales every value by the sum of a gate for its channel and a gate for its pixel.

    `y = x * (c + s)`: c (N C 1 1) comes from the globally averaged map through two linear layers, s (N 1 H W)
    from a 1x1 convolution; both end in a sigmoid. The last layers start at zero, so both gates start at one
    half and the module starts as the identity: pretrained features survive its insertion.

    The map is far larger than anything else here, so the time goes into reading and writing it. The backward
    pass is written by hand to touch it as seldom as possible, and keeps nothing of its size but the input.

    Args:
        channels: C, at least 1.
        reduction: the channel branch narrows to `max(1, channels // reduction)`. The paper found 2 best;
            segmentation_models_pytorch uses 16.

    Shape:
        N C H W in, N C H W out; dtype and memory format are kept.

    Example:
        >>> x = torch.randn(2, 8, 5, 7)
        >>> torch.equal(SCSE(8)(x), x)
        True
    """

    def __init__(self, channels: int, *, reduction: int = 2) -> None:
        super().__init__()
        if channels < 1 or reduction < 1:
            raise ValueError(f"channels and reduction must be at least 1, got {channels} and {reduction}")
        hidden = max(1, channels // reduction)
        self.squeeze = nn.Linear(channels, hidden)
        self.excite = nn.Linear(hidden, channels)
        self.spatial = nn.Conv2d(channels, 1, kernel_size=1)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Makes the module the identity."""
        self.squeeze.reset_parameters()
        for last in (self.excite, self.spatial):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)  # type: ignore[arg-type]  # both were built with a bias

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        squeeze, excite, spatial = self.squeeze, self.excite, self.spatial
        weights = (squeeze.weight, squeeze.bias, excite.weight, excite.bias, spatial.weight, spatial.bias)
        return _ScaleByGates.apply(x, *weights)

    def extra_repr(self) -> str:  # noqa: D102
        return f"channels={self.squeeze.in_features}, hidden={self.squeeze.out_features}"


class _ScaleByGates(torch.autograd.Function):
    """`x * (c + s)` with both gates computed inside, so that the backward pass sees all its terms at once."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, *weights: Tensor) -> Tensor:
        gates = _gates(x, *weights)
        ctx.save_for_backward(x, *weights, *gates)
        _, _, channel, pixel = gates
        # In place: a fresh map costs more than the arithmetic.
        return (x * channel[:, :, None, None].to(x.dtype)).addcmul_(x, pixel)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        # Off here too, if backward is called under it: it would round the small matrix products.
        with torch.autocast(grad.device.type, enabled=False):
            return _gradients(ctx.saved_tensors, grad)


def _gradients(saved: tuple[Tensor, ...], grad: Tensor) -> tuple[Tensor, ...]:
    """The backward pass: gradients of x and of the six weights."""
    x, *weights = saved[:7]
    # The saved gates are constants to autograd: a second derivative (create_graph=True) needs them with a history.
    pooled, hidden, channel, pixel = _gates(x, *weights) if torch.is_grad_enabled() else saved[7:]
    w1, w2, ws = weights[0], weights[2], weights[4].to(x.dtype)
    exact = pooled.dtype
    product = grad * x  # N C H W
    d_channel = _sum_pixels(product, exact) * channel * (1 - channel)  # N C, at the logits
    d_pixel = product.sum(1, keepdim=True) * pixel * (1 - pixel)  # N 1 H W, at the logits
    d_hidden = (d_channel @ w2.to(exact)) * (hidden > 0)  # N C/r
    d_pooled = d_hidden @ w1.to(exact) / (x.shape[2] * x.shape[3])  # N C, spread over the pixels
    # A product of matrices that are views of the maps; einsum would copy x.
    d_ws = torch.bmm(d_pixel.flatten(2), x.flatten(2).mT).sum(0)[:, :, None, None]
    # The product has served: its memory becomes the result's.
    d_x = product.copy_(d_pooled[:, :, None, None]).addcmul_(grad, channel[:, :, None, None].to(grad.dtype))
    d_x = d_x.addcmul_(grad, pixel).addcmul_(d_pixel, ws)
    return (
        d_x,
        d_hidden.T @ pooled,
        d_hidden.sum(0),
        d_channel.T @ hidden,
        d_channel.sum(0),
        d_ws,
        d_pixel.sum((0, 2, 3), dtype=exact),
    )


def _gates(
    x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor, ws: Tensor, bs: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What was pooled (N C), the hidden layer (N C/r), the gates of channels (N C) and of pixels (N 1 H W)."""
    exact = torch.promote_types(x.dtype, torch.float32)
    # Autocast off: the channel branch is tiny and stays exact, the map keeps its own dtype.
    with torch.autocast(x.device.type, enabled=False):
        pooled = _sum_pixels(x, exact) / (x.shape[2] * x.shape[3])
        hidden = F.relu(F.linear(pooled, w1.to(exact), b1.to(exact)))
        channel = F.linear(hidden, w2.to(exact), b2.to(exact)).sigmoid()
        pixel = _project(x, ws.to(x.dtype), bs.to(x.dtype)).sigmoid()
    return pooled, hidden, channel, pixel


def _project(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A 1x1 convolution to one channel: N C H W -> N 1 H W."""
    if torch.compiler.is_compiling():  # a compiler fuses a sum into one pass, and leaves a convolution alone
        return (x * weight).sum(1, keepdim=True) + bias.view(1, 1, 1, 1)
    # Not a convolution: that brings a map in NCHW into another layout first.
    rows = weight.reshape(1, 1, -1).expand(x.shape[0], -1, -1)
    return torch.bmm(rows, x.flatten(2)).unflatten(2, x.shape[2:]) + bias


def _sum_pixels(x: Tensor, exact: torch.dtype) -> Tensor:
    """N C H W -> N C in the dtype `exact`."""
    # A CPU would write the whole map in float32 first; its own sum of bfloat16 adds in float32 too, and rounds once.
    if x.dtype == torch.bfloat16 and x.device.type == "cpu" and not torch.compiler.is_compiling():
        return x.sum((2, 3)).to(exact)
    return x.sum((2, 3), dtype=exact)
