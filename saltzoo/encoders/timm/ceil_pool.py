"""Poolings that round sizes up, such that `torch.export` knows what comes out for an image of free size.

Of `ceil_mode=True` torch asks whether the last window begins inside the map. Of a size that is a formula it can't
tell, and binds the graph to the sizes of the example. Padded by hand, the map needs no rounding and no question.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class CeilMaxPool2d(nn.MaxPool2d):
    """`nn.MaxPool2d(..., ceil_mode=True)`, padded to whole windows where it is exported."""

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        if not torch.compiler.is_exporting():
            return super().forward(x)
        kernel, stride, padding = (_both(value) for value in (self.kernel_size, self.stride, self.padding))
        pads = [pad for axis in (1, 0) for pad in _pads(x.shape[2 + axis], kernel[axis], stride[axis], padding[axis])]
        return F.max_pool2d(F.pad(x, pads, value=-torch.inf), kernel, stride)


class CeilAvgPool2d(nn.AvgPool2d):
    """`nn.AvgPool2d(2, 2, ceil_mode=True)`: a last pixel alone is its own mean, and so is it beside its copy."""

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        if not torch.compiler.is_exporting():
            return super().forward(x)
        return F.avg_pool2d(F.pad(x, [pad for axis in (3, 2) for pad in _pads(x.shape[axis], 2, 2, 0)], "replicate"), 2)


def know_sizes(network: nn.Module) -> None:
    """Makes the poolings of a network such as can be exported, where they are of these kinds."""
    for module in network.modules():
        # Their class, in place: they have no weights, but may carry hooks.
        if type(module) is nn.MaxPool2d and module.ceil_mode and _always_begins_inside(module):
            module.__class__ = CeilMaxPool2d
        elif type(module) is nn.AvgPool2d and module.ceil_mode and _is_halving(module):
            module.__class__ = CeilAvgPool2d


def _always_begins_inside(pool: nn.MaxPool2d) -> bool:
    sides = zip(_both(pool.kernel_size), _both(pool.stride), _both(pool.padding), strict=True)
    return _both(pool.dilation) == (1, 1) and all(kernel >= stride + padding for kernel, stride, padding in sides)


def _is_halving(pool: nn.AvgPool2d) -> bool:
    sides = (_both(pool.kernel_size), _both(pool.stride), _both(pool.padding))
    return sides == ((2, 2), (2, 2), (0, 0)) and pool.divisor_override is None


def _pads(size: int, kernel: int, stride: int, padding: int) -> tuple[int, int]:
    """Before and after a line, so that windows fill it. Written so that an exporter can divide it again."""
    steps = (size + 2 * padding - kernel + stride - 1) // stride
    return padding, kernel + stride * steps - size - padding


def _both(value: int | tuple[int, ...]) -> tuple[int, int]:
    height, width = (value, value) if isinstance(value, int) else value
    return height, width
