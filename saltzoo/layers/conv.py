"""The convolution block that decoders are made of."""

from __future__ import annotations

from torch import nn


class ConvNormAct(nn.Sequential):
    """3x3 convolution without bias, batch norm, ReLU; keeps H and W.

    Args:
        in_channels: channels in.
        out_channels: channels out.

    Shape:
        N in_channels H W -> N out_channels H W
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1, bias=False)
        nn.init.kaiming_normal_(self.conv.weight, nonlinearity="relu")
        self.norm = nn.BatchNorm2d(out_channels)
        self.act = nn.ReLU(inplace=True)
