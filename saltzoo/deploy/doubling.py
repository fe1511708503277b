"""Nearest-neighbour doubling and the 3x3 convolution after it as one transposed convolution on the small map.

A pixel of a doubled map and its neighbour hold the same value, so that of the nine taps of a filter always some fall on
one pixel of the small map: four 2x2 filters, one for each parity of row and column, give the same result with four
multiplications in place of nine. A transposed 4x4 convolution of stride 2 holds these four filters. The doubled map is
not computed, nor is it concatenated with the skip: a convolution of a concatenation is the sum of two.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..contracts import Size
from ..layers import ConvNormAct, UnetBlock

_WORTH = 8
"""Smallest height and width of a small map from which on the transposed convolution pays.

Time of the plain way by its time, blocks of unet_resnet34_scse at batch 16 and 4, one thread, AVX-512, torch 2.14:
4 x 4 to 7 x 7, .72 and .62; 7 x 7 to 13 x 13, 1.04 and .78; 8 x 8 to 16 x 16, 1.32; larger maps, 1.23 to 2.76.
"""


class DoublingConv(nn.Module):
    """`conv(interpolate(x, size, mode="nearest"))`, computed on the small map where the size is about doubled.

    That is: H is 2h or 2h - 1 and W is 2w or 2w - 1, as in every U-Net whose encoder rounds up. Other sizes, maps below
    8 x 8, devices other than CPUs, and graphs that are compiled or exported take the way of two steps: there it does
    not pay.

    Args:
        weight: filter O C 3 3.
        bias: bias O, or None.

    Shape:
        N C h w and (H, W) -> N O H W

    Example:
        >>> x, weight = torch.randn(1, 8, 9, 9), torch.randn(4, 8, 3, 3)
        >>> want = F.conv2d(F.interpolate(x, size=(17, 18), mode="nearest"), weight, padding=1)
        >>> torch.allclose(DoublingConv(weight, None)(x, (17, 18)), want, atol=1e-4)
        True
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.weight: nn.Parameter = nn.Parameter(weight.detach().clone(), requires_grad=False)
        self.phases: nn.Parameter = nn.Parameter(transposed_filter(self.weight), requires_grad=False)
        self.bias: nn.Parameter | None = None
        if bias is not None:
            self.bias = nn.Parameter(bias.detach().clone(), requires_grad=False)

    def forward(self, x: Tensor, size: Size) -> Tensor:  # noqa: D102
        if torch.compiler.is_compiling() or x.device.type != "cpu" or not _pays(x, size):
            return self._same(F.interpolate(x, size=size, mode="nearest"))
        height, width = size
        y = F.conv_transpose2d(x, self.phases, self.bias, stride=2, padding=1)  # N O 2h 2w
        y = y[:, :, :height, :width]
        # The transposed convolution reads the doubled map's next row and column, where an odd size has zeros.
        if height % 2:
            row = F.interpolate(x[:, :, -1:], size=(1, width), mode="nearest")  # N C 1 W
            y[:, :, -1:] -= F.conv2d(row, self.weight[:, :, 2:], padding=(0, 1))
        if width % 2:
            # Twice the height: the pixel in the corner was taken off with the row, in which it was zero.
            column = F.interpolate(x[:, :, :, -1:], size=(2 * x.shape[2], 1), mode="nearest")  # N C 2h 1
            y[:, :, :, -1:] -= F.conv2d(column, self.weight[:, :, :, 2:], padding=(1, 0))[:, :, :height]
        return y

    def _same(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, self.bias, padding=1)


def _pays(x: Tensor, size: Size) -> bool:
    height, width = x.shape[-2:]
    doubled = size[0] in (2 * height, 2 * height - 1) and size[1] in (2 * width, 2 * width - 1)
    return doubled and min(height, width) >= _WORTH


@torch.no_grad()
def transposed_filter(weight: Tensor) -> Tensor:
    """Return the filter C O 4 4 of the transposed convolution that does what doubling and a filter O C 3 3 do.

    Doubling is a transposed convolution of stride 2 with ones, 2 x 2; after it, the filter is a transposed convolution
    with the filter mirrored. The two together are one with the convolution of both.
    """
    channels = weight.shape[:2]
    ones = torch.ones(1, 1, 2, 2, dtype=torch.float64, device=weight.device)
    mirrored = weight.double().flip(2, 3).flatten(0, 1)[:, None]  # OC 1 3 3
    both = F.conv2d(mirrored, ones, padding=1)  # OC 1 4 4
    return both.view(*channels, 4, 4).transpose(0, 1).to(weight).contiguous()


class DoublingUnetBlock(nn.Module):
    """A `UnetBlock` with nearest-neighbour upsampling whose first convolution is a `DoublingConv` and one of the skip.

    Shape:
        That of UnetBlock.
    """

    def __init__(self, block: UnetBlock) -> None:
        super().__init__()
        conv = block.conv1.conv
        below = block.upsample.out_channels
        self.upsampled: DoublingConv = DoublingConv(conv.weight[:, :below], conv.bias)
        self.skip: nn.Conv2d | None = None
        if conv.in_channels > below:
            self.skip = nn.Conv2d(conv.in_channels - below, conv.out_channels, 3, padding=1, bias=False)
            self.skip.weight = nn.Parameter(conv.weight[:, below:].detach().clone(), requires_grad=False)
        self.skip_attention: nn.Module = block.skip_attention
        self.norm: nn.Module = block.conv1.norm
        self.act: nn.Module = block.conv1.act
        self.conv2: ConvNormAct = block.conv2
        self.attention: nn.Module = block.attention

    def forward(self, x: Tensor, skip: Tensor | None, size: Size) -> Tensor:  # noqa: D102
        y = self.upsampled(x, size)  # N out H W
        if skip is not None and self.skip is not None:
            y = self.skip(self.skip_attention(skip)) + y
        y = self.act(self.norm(y))  # N out H W
        y = self.conv2(y)  # N out H W
        return self.attention(y)


def is_doubling(block: nn.Module) -> bool:
    """Return whether a block can become a `DoublingUnetBlock`, which never holds the concatenated map."""
    if type(block) is not UnetBlock or block.upsample.mode != "nearest":
        return False
    conv = block.conv1.conv
    plain = type(block.conv1) is ConvNormAct and type(conv) is nn.Conv2d
    same = conv.kernel_size == (3, 3) and conv.stride == conv.dilation == (1, 1) and conv.groups == 1
    return plain and same and isinstance(block.concat_attention, nn.Identity)
