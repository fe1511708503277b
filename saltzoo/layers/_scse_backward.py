"""Forward and backward passes of SCSE, written by hand to read and write the map as seldom as possible.

- `scale_by_gates`: `x * (c + s)` from the map and the six weights. The default configuration of SCSE uses it.
- `merge_gates`: `x * c + x * s` or `max(x * c, x * s)` from the map and both gates. The variants of SCSE use it.

Each uses an autograd function, `ScaleByGates` or `MergeGates`, except inside a transform of `torch.func` and in
forward-mode differentiation, for which plain operations serve: there memory matters less than that all transforms work.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .._torch import autocast_off, transforms_active
from ._gates import mean_pixels, pixel_rows, project_to_one, sum_pixels


class Weights(NamedTuple):
    """Weights of both branches: the two linear layers of the channel gate, the 1x1 convolution of the pixel gate."""

    squeeze: Tensor  # C/r C
    squeeze_bias: Tensor  # C/r
    excite: Tensor  # C C/r
    excite_bias: Tensor  # C
    spatial: Tensor  # 1 C 1 1
    spatial_bias: Tensor  # 1


class Gates(NamedTuple):
    """Both gates, and the intermediate results of the channel branch."""

    pooled: Tensor  # N C
    hidden: Tensor  # N C/r
    channel: Tensor  # N C
    pixel: Tensor  # N 1 H W


def compute_gates(x: Tensor, weights: Weights) -> Gates:
    """Return the gates of a map N C H W."""
    # Autocast off: the channel branch is tiny and stays exact, and the map keeps its dtype.
    with autocast_off(x):
        pooled = mean_pixels(x)
        exact = pooled.dtype
        hidden = F.relu(F.linear(pooled, weights.squeeze.to(exact), weights.squeeze_bias.to(exact)))
        channel = F.linear(hidden, weights.excite.to(exact), weights.excite_bias.to(exact)).sigmoid()
        pixel = project_to_one(x, weights.spatial, weights.spatial_bias).sigmoid()
    return Gates(pooled, hidden, channel, pixel)


def scale_by_gates(x: Tensor, weights: Weights) -> Tensor:
    """Return `x * (c + s)` of a map N C H W, with both gates computed from it."""
    if transforms_active():
        gates = compute_gates(x, weights)
        return merge_gates(x, gates.channel[:, :, None, None], gates.pixel, larger=False)
    if not torch.is_grad_enabled():  # an autograd function takes longer to call than a small map to scale
        return _scaled(x, compute_gates(x, weights))
    return ScaleByGates.apply(x, *weights)


def merge_gates(x: Tensor, channel: Tensor, pixel: Tensor, *, larger: bool) -> Tensor:
    """Return `x * c + x * s`, or with `larger` the maximum of both products, of x N C H W, c N C 1 1 and s N 1 H W."""
    if transforms_active():
        by_channel, by_pixel = x * channel.to(x.dtype), x * pixel
        return torch.maximum(by_channel, by_pixel) if larger else by_channel + by_pixel
    return MergeGates.apply(x, channel, pixel, larger)


class ScaleByGates(torch.autograd.Function):
    """`x * (c + s)` with both gates computed inside, so that the backward pass sees all its terms at once.

    Shape:
        x N C H W and the six tensors of `Weights` -> N C H W
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, *weights: Tensor) -> Tensor:
        """Return the scaled map."""
        gates = compute_gates(x, Weights(*weights))
        ctx.save_for_backward(x, *weights, *gates)
        return _scaled(x, gates)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        """Return the gradients of x and of the six weights."""
        x, *saved = ctx.saved_tensors
        weights, gates = Weights(*saved[:6]), Gates(*saved[6:])
        # A caller may run backward under autocast, which would round the small matrix products.
        with autocast_off(grad):
            if torch.is_grad_enabled():
                # create_graph=True: the saved gates are constants to autograd, and a second derivative needs their
                # history.
                gates = compute_gates(x, weights)
            return _scale_gradients(grad, x, weights, gates)


def _scaled(x: Tensor, gates: Gates) -> Tensor:
    # In place: allocating another map costs more than the arithmetic.
    return (x * gates.channel[:, :, None, None].to(x.dtype)).addcmul_(x, gates.pixel)


def _scale_gradients(grad: Tensor, x: Tensor, weights: Weights, gates: Gates) -> tuple[Tensor, ...]:
    """Return the gradients of x and of the six weights for `y = x * (c + s)`."""
    pooled, hidden, channel, pixel = gates
    exact = pooled.dtype
    product = grad * x  # N C H W
    d_channel = sum_pixels(product) * channel * (1 - channel)  # N C, before the sigmoid
    d_pixel = product.sum(1, keepdim=True) * pixel * (1 - pixel)  # N 1 H W, before the sigmoid
    d_hidden = (d_channel @ weights.excite.to(exact)) * (hidden > 0)  # N C/r
    d_pooled = d_hidden @ weights.squeeze.to(exact) / (x.shape[2] * x.shape[3])  # N C, for each pixel
    # Both factors are views of the maps; einsum would copy x.
    d_spatial = torch.bmm(pixel_rows(d_pixel), pixel_rows(x).mT).sum(0)[:, :, None, None]  # 1 C 1 1
    # `product` is no longer needed: its memory is reused for the result.
    d_x = product.copy_(d_pooled[:, :, None, None])
    d_x = d_x.addcmul_(grad, channel[:, :, None, None].to(grad.dtype))
    d_x = d_x.addcmul_(grad, pixel).addcmul_(d_pixel, weights.spatial.to(x.dtype))  # N C H W
    return (
        d_x,
        d_hidden.T @ pooled,
        d_hidden.sum(0),
        d_channel.T @ hidden,
        d_channel.sum(0),
        d_spatial,
        d_pixel.sum((0, 2, 3), dtype=exact),
    )


class MergeGates(torch.autograd.Function):
    """`x * c + x * s`, or with `larger` the maximum of both products; autograd would read the map more often.

    Shape:
        x N C H W, channel N C 1 1, pixel N 1 H W -> N C H W
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, channel: Tensor, pixel: Tensor, larger: bool) -> Tensor:
        """Return the scaled map."""
        ctx.save_for_backward(x, channel, pixel)
        ctx.larger = larger
        scaled = x * channel.to(x.dtype)
        return torch.maximum(scaled, x * pixel) if larger else scaled.addcmul_(x, pixel)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of x, of both gates, and None for `larger`."""
        x, channel, pixel = ctx.saved_tensors
        gate = channel.to(x.dtype)  # N C 1 1
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
    """Return N C H W: 1 where `x * c` is the larger product, 0 where `x * s` is, 0.5 where they are equal."""
    lead = torch.sub(channel, pixel, out=None if torch.compiler.is_compiling() else torch.empty_like(x))
    return lead.mul_(x).heaviside_(x.new_tensor(0.5))
