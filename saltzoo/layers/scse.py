"""Concurrent spatial and channel squeeze and excitation (scSE).

Roy, Navab, Wachinger: "Concurrent Spatial and Channel Squeeze & Excitation in Fully Convolutional
Networks", arXiv 1803.02579, and "Recalibrating Fully Convolutional Networks", arXiv 1808.08127.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .._torch import autocast_off
from .gates import check_map, mean_pixels, narrowed, project, sum_pixels
from .norm import PooledBatchNorm

MERGES = ("add", "max")


class SCSE(nn.Module):
    """Scales every value by a gate for its channel and a gate for its pixel.

    `y = x * (c + s)`: c (N C 1 1) comes from the globally averaged map through two linear layers, s (N 1 H W)
    from a 1x1 convolution; both end in a sigmoid. The last layers start at zero, so both gates start at one
    half and the module starts as the identity: pretrained features survive its insertion.

    The map is far larger than anything else here, so the time goes into reading and writing it. The backward
    pass is written by hand to touch it as seldom as possible, and keeps nothing of its size but the input.

    Args:
        channels: C, at least 1.
        reduction: the channel branch narrows to `max(1, channels // reduction)`. The paper found 2 best;
            segmentation_models_pytorch uses 16.
        merge: "add" as above, or "max" for `max(x * c, x * s)`, as the authors' code has it. That one halves
            what it is given at the start, and is no identity.
        norm: batch norm after both linear layers and after the convolution, which then have no biases. The last
            norms start at zero, so the start is the same.

    Shape:
        N C H W in, N C H W out; dtype and memory format are kept.

    Example:
        >>> x = torch.randn(2, 8, 5, 7)
        >>> torch.equal(SCSE(8)(x), x)
        True
    """

    def __init__(self, channels: int, *, reduction: int = 2, merge: str = "add", norm: bool = False) -> None:
        super().__init__()
        if merge not in MERGES:
            raise ValueError(f"unknown merge {merge!r}: choose one of {MERGES}")
        hidden = narrowed(channels, reduction)
        self.merge = merge
        self.norm = norm
        bias = not norm  # a norm has its own
        self.squeeze = nn.Linear(channels, hidden, bias=bias)
        self.excite = nn.Linear(hidden, channels, bias=bias)
        self.spatial = nn.Conv2d(channels, 1, kernel_size=1, bias=bias)
        if norm:
            self.squeeze_norm = PooledBatchNorm(hidden)
            self.excite_norm = PooledBatchNorm(channels)
            self.spatial_norm = PooledBatchNorm(1)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Brings both gates to one half, so that with "add" the module is the identity."""
        self.squeeze.reset_parameters()
        if self.norm:
            for layer in (self.excite, self.spatial, self.squeeze_norm, self.excite_norm, self.spatial_norm):
                layer.reset_parameters()
            nn.init.zeros_(self.excite_norm.weight)
            nn.init.zeros_(self.spatial_norm.weight)
            return
        for last in (self.excite, self.spatial):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)  # type: ignore[arg-type]  # both were built with a bias

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        squeeze, excite, spatial = self.squeeze, self.excite, self.spatial
        check_map(x, squeeze.in_features)
        weights = (squeeze.weight, squeeze.bias, excite.weight, excite.bias, spatial.weight, spatial.bias)
        if self.merge == "add" and not self.norm:
            return _ScaleByGates.apply(x, *weights)
        if self.norm:
            channel, pixel = self._normed_gates(x)  # N C, N 1 H W
        else:
            _, _, channel, pixel = _gates(x, *weights)
        return _Merge.apply(x, channel[:, :, None, None], pixel, self.merge == "max")

    def _normed_gates(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The gates of channels (N C) and of pixels (N 1 H W)."""
        dtype = self.squeeze.weight.dtype
        with autocast_off(x):
            hidden = F.relu(self.squeeze_norm(self.squeeze(mean_pixels(x).to(dtype))))  # N C/r
            channel = self.excite_norm(self.excite(hidden)).sigmoid()  # N C
            projected = project(x, self.spatial.weight, self.spatial.bias)  # N 1 H W
            pixel = self.spatial_norm(projected.to(dtype)).sigmoid()
        return channel, pixel.to(x.dtype)

    def extra_repr(self) -> str:  # noqa: D102
        options = "" if self.merge == "add" else f", merge={self.merge!r}"
        return f"channels={self.squeeze.in_features}, hidden={self.squeeze.out_features}{options}"


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
        with autocast_off(grad):
            return _gradients(ctx.saved_tensors, grad)


def _gradients(saved: tuple[Tensor, ...], grad: Tensor) -> tuple[Tensor, ...]:
    """The backward pass: gradients of x and of the six weights."""
    x, *weights = saved[:7]
    # The saved gates are constants to autograd: a second derivative (create_graph=True) needs them with a history.
    pooled, hidden, channel, pixel = _gates(x, *weights) if torch.is_grad_enabled() else saved[7:]
    w1, w2, ws = weights[0], weights[2], weights[4].to(x.dtype)
    exact = pooled.dtype
    product = grad * x  # N C H W
    d_channel = sum_pixels(product) * channel * (1 - channel)  # N C, at the logits
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
    x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor, ws: Tensor, bs: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What was pooled (N C), the hidden layer (N C/r), the gates of channels (N C) and of pixels (N 1 H W)."""
    # Autocast off: the channel branch is tiny and stays exact, the map keeps its own dtype.
    with autocast_off(x):
        pooled = mean_pixels(x)
        exact = pooled.dtype
        hidden = F.relu(F.linear(pooled, w1.to(exact), b1.to(exact)))
        channel = F.linear(hidden, w2.to(exact), b2.to(exact)).sigmoid()
        pixel = project(x, ws, bs).sigmoid()
    return pooled, hidden, channel, pixel


class _Merge(torch.autograd.Function):
    """`x * c + x * s`, or the larger of the two products, of given gates; autograd would read the map more often."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, channel: Tensor, pixel: Tensor, larger: bool) -> Tensor:
        ctx.save_for_backward(x, channel, pixel)
        ctx.larger = larger
        scaled = x * channel.to(x.dtype)
        return torch.maximum(scaled, x * pixel) if larger else scaled.addcmul_(x, pixel)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, channel, pixel = ctx.saved_tensors
        gate = channel.to(x.dtype)
        product = grad * x  # N C H W
        if not ctx.larger:
            d_x = (grad * gate).addcmul_(grad, pixel)
            return d_x, _sum_over_pixels(product, channel), product.sum(1, keepdim=True), None
        share = _share_of_channel(x, gate, pixel)
        decided = product * share
        d_pixel = product.sum(1, keepdim=True) - decided.sum(1, keepdim=True)  # N 1 H W
        return grad * torch.lerp(pixel, gate, share), _sum_over_pixels(decided, channel), d_pixel, None


def _sum_over_pixels(product: Tensor, channel: Tensor) -> Tensor:
    return product.sum((2, 3), keepdim=True, dtype=channel.dtype)  # N C 1 1


@torch.no_grad()
def _share_of_channel(x: Tensor, channel: Tensor, pixel: Tensor) -> Tensor:
    """N C H W: 1 where `x * c` is the larger, 0 where `x * s` is, one half where they are the same."""
    lead = torch.sub(channel, pixel, out=None if torch.compiler.is_compiling() else torch.empty_like(x))
    return lead.mul_(x).heaviside_(x.new_tensor(0.5))
