"""Poolings with `ceil_mode=True` that `torch.export` can export with free image sizes.

With `ceil_mode=True` torch tests whether the last window starts inside the map. The exporter cannot decide this for a
symbolic size and restricts the graph to the sizes of the example. Explicit padding makes all windows complete, and the
test unnecessary.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class CeilMaxPool2d(nn.MaxPool2d):
    """`nn.MaxPool2d(..., ceil_mode=True)` that pads explicitly during export."""

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        if not torch.compiler.is_exporting():
            return super().forward(x)
        kernel, stride, padding = (_pair(value) for value in (self.kernel_size, self.stride, self.padding))
        pads = [pad for axis in (1, 0) for pad in _pads(x.shape[2 + axis], kernel[axis], stride[axis], padding[axis])]
        return F.max_pool2d(F.pad(x, pads, value=-torch.inf), kernel, stride)


class CeilAvgPool2d(nn.AvgPool2d):
    """`nn.AvgPool2d(2, 2, ceil_mode=True)` that pads explicitly during export.

    The mean of an incomplete window equals that of the window completed by copies of its border pixels.
    """

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        if not torch.compiler.is_exporting():
            return super().forward(x)
        return F.avg_pool2d(F.pad(x, [pad for axis in (3, 2) for pad in _pads(x.shape[axis], 2, 2, 0)], "replicate"), 2)


def make_exportable(network: nn.Module) -> None:
    """Replace the poolings and convolutions of a network that have an equivalent here or in `same_padding.py`."""
    from .same_padding import HalvingConv2d, is_halving  # late, because it loads timm

    for module in network.modules():
        # Assigning the class keeps the weights and the hooks of the module.
        if type(module) is nn.MaxPool2d and module.ceil_mode and _always_starts_inside(module):
            module.__class__ = CeilMaxPool2d
        elif type(module) is nn.AvgPool2d and module.ceil_mode and _is_halving(module):
            module.__class__ = CeilAvgPool2d
        elif is_halving(module):
            module.__class__ = HalvingConv2d


def _always_starts_inside(pool: nn.MaxPool2d) -> bool:
    """Return whether the last window starts inside the map for every size, so that torch never drops it."""
    sides = zip(_pair(pool.kernel_size), _pair(pool.stride), _pair(pool.padding), strict=True)
    return _pair(pool.dilation) == (1, 1) and all(kernel >= stride + padding for kernel, stride, padding in sides)


def _is_halving(pool: nn.AvgPool2d) -> bool:
    sides = (_pair(pool.kernel_size), _pair(pool.stride), _pair(pool.padding))
    return sides == ((2, 2), (2, 2), (0, 0)) and pool.divisor_override is None


def _pads(size: int, kernel: int, stride: int, padding: int) -> tuple[int, int]:
    """Return the padding before and after a line that makes all windows complete."""
    # In this form the exporter can simplify the size of the output.
    steps = (size + 2 * padding - kernel + stride - 1) // stride
    return padding, kernel + stride * steps - size - padding


def _pair(value: int | tuple[int, ...]) -> tuple[int, int]:
    height, width = (value, value) if isinstance(value, int) else value
    return height, width
