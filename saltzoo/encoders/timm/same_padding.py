"""timm's convolutions with TensorFlow's padding, which `torch.export` can then export with free image sizes.

timm computes the padding by a formula from which the exporter cannot tell that the padded side is even, and its guards
then restrict the graph to the sizes of the example.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from timm.layers.conv2d_same import Conv2dSame
from torch import Tensor, nn


class HalvingConv2d(Conv2dSame):
    """A `Conv2dSame` of stride 2 with an odd square kernel that pads by a simpler formula during export.

    Zeros complete each side to an even length, and then each output reads the kernel's window from its own pair of
    pixels on.

    Shape:
        N C H W -> N O ceil(H / 2) ceil(W / 2)
    """

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        if not torch.compiler.is_exporting():
            return super().forward(x)
        height, width = x.shape[-2:]
        odd_h, odd_w = (height + 1) // 2 * 2 - height, (width + 1) // 2 * 2 - width
        before, after = (self.kernel_size[0] - 3) // 2, (self.kernel_size[0] - 1) // 2
        x = F.pad(x, (before + odd_w, after, before + odd_h, after))
        return F.conv2d(x, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


def is_halving(module: nn.Module) -> bool:
    """Return whether a module is a `Conv2dSame` that `HalvingConv2d` can replace."""
    if type(module) is not Conv2dSame or module.stride != (2, 2) or module.dilation != (1, 1):
        return False
    height, width = module.kernel_size
    return height == width and height % 2 == 1 and height >= 3
