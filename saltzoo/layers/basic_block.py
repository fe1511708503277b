"""The basic residual block.

He, Zhang, Ren, Sun: "Deep Residual Learning for Image Recognition", arXiv 1512.03385.
"""

from __future__ import annotations

from torch import Tensor, nn

from .conv import ConvNormAct


class BasicBlock(nn.Module):
    """Residual block of two 3x3 convolutions with batch norm; ReLU after the sum.

    The shortcut is the input, or a 1x1 convolution with batch norm if the stride is not 1 or the channels differ.

    Args:
        in_channels: channels in.
        out_channels: channels out.
        stride: stride of the first convolution.

    Shape:
        N in_channels H W -> N out_channels ceil(H / stride) ceil(W / stride)

    Example:
        >>> import torch
        >>> BasicBlock(32, 64, stride=2)(torch.randn(2, 32, 51, 51)).shape
        torch.Size([2, 64, 26, 26])
    """

    def __init__(self, in_channels: int, out_channels: int, *, stride: int = 1) -> None:
        super().__init__()
        self.conv1: ConvNormAct = ConvNormAct(in_channels, out_channels, stride=stride)
        self.conv2: ConvNormAct = ConvNormAct(out_channels, out_channels, act=False)
        same = stride == 1 and in_channels == out_channels
        self.shortcut: nn.Module = (
            nn.Identity() if same else ConvNormAct(in_channels, out_channels, kernel_size=1, stride=stride, act=False)
        )
        self.act: nn.ReLU = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        y = self.conv1(x)  # N out H/stride W/stride
        y = self.conv2(y)  # N out H/stride W/stride
        return self.act(y + self.shortcut(x))  # N out H/stride W/stride
