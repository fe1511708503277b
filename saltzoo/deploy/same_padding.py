"""timm's convolutions with TensorFlow's padding, computed so that a graph with free sizes can be made of them."""

from __future__ import annotations

from typing import TypeGuard

import torch.nn.functional as F
from timm.layers.conv2d_same import Conv2dSame
from torch import Tensor, nn


class HalvingConv2d(Conv2dSame):
    """A `Conv2dSame` of stride 2 with an odd square kernel.

    Zeros complete each side to an even length, and then each output reads the kernel's window from its own pair of
    pixels on. timm's class pads the same zeros, by a formula from which torch.export cannot tell that a side is even.

    Shape:
        N C H W -> N O ceil(H / 2) ceil(W / 2)
    """

    @classmethod
    def take_over(cls, convolution: nn.Conv2d) -> None:
        """Make a module one of this class, in place: hooks of an encoder hold the module itself, and not its name."""
        convolution.__class__ = cls

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        height, width = x.shape[-2:]
        odd_h, odd_w = (height + 1) // 2 * 2 - height, (width + 1) // 2 * 2 - width
        before, after = (self.kernel_size[0] - 3) // 2, (self.kernel_size[0] - 1) // 2
        x = F.pad(x, (before + odd_w, after, before + odd_h, after))
        return F.conv2d(x, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


def is_halving(module: nn.Module) -> TypeGuard[Conv2dSame]:
    """Return whether a module is a `Conv2dSame` that `HalvingConv2d` can replace."""
    if type(module) is not Conv2dSame or module.stride != (2, 2) or module.dilation != (1, 1):
        return False
    height, width = module.kernel_size
    return height == width and height % 2 == 1 and height >= 3
