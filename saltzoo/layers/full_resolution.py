"""Full-resolution residual units: a residual stream at full resolution beside a pooled stream.

Pohlen, Hermans, Mathias, Leibe: "Full-Resolution Residual Networks for Semantic Segmentation in Street Scenes",
arXiv 1611.08323. The residual stream of the paper is called `lane` here, its pooling stream `stream`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .._checks import check_counts
from .conv import ConvNormAct


class ResidualUnit(nn.Module):
    """Residual block of two 3x3 convolutions with batch norm, without ReLU after the sum.

    Args:
        channels: channels in.
        out_channels: channels out; None for `channels`. If they differ, the shortcut is a 1x1 convolution.

    Shape:
        N channels H W -> N out_channels H W

    Example:
        >>> ResidualUnit(8, 4)(torch.randn(2, 8, 5, 7)).shape
        torch.Size([2, 4, 5, 7])
    """

    def __init__(self, channels: int, out_channels: int | None = None) -> None:
        super().__init__()
        out_channels = channels if out_channels is None else out_channels
        same = channels == out_channels
        self.shortcut: nn.Module = (
            nn.Identity() if same else nn.Conv2d(channels, out_channels, kernel_size=1, bias=False)
        )
        self.conv1: ConvNormAct = ConvNormAct(channels, out_channels)
        self.conv2: ConvNormAct = ConvNormAct(out_channels, out_channels, act=False)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        y = self.conv1(x)  # N out H W
        y = self.conv2(y)  # N out H W
        return self.shortcut(x) + y


class FRRU(nn.Module):
    """Full-resolution residual unit: the pooled stream reads the lane and adds a residual to it.

    Args:
        in_channels: channels of the stream in.
        channels: channels of the stream out.
        lane_channels: channels of the lane.
        scale: factor by which the stream is smaller than the lane, rounded down. If it does not divide H or W, the
            last rows or columns of the lane are not pooled; the residual still covers the whole lane.

    Shape:
        Lane N lane_channels H W and stream N in_channels H//scale W//scale
        -> lane N lane_channels H W and stream N channels H//scale W//scale

    Example:
        >>> lane, stream = FRRU(8, 16, 4, scale=2)(torch.randn(2, 4, 33, 21), torch.randn(2, 8, 16, 10))
        >>> lane.shape, stream.shape
        (torch.Size([2, 4, 33, 21]), torch.Size([2, 16, 16, 10]))
    """

    def __init__(self, in_channels: int, channels: int, lane_channels: int, *, scale: int) -> None:
        super().__init__()
        check_counts(scale=scale, lane_channels=lane_channels)
        self.scale = scale
        self.conv1: ConvNormAct = ConvNormAct(in_channels + lane_channels, channels)
        self.conv2: ConvNormAct = ConvNormAct(channels, channels)
        self.residual: nn.Conv2d = nn.Conv2d(channels, lane_channels, kernel_size=1)

    def forward(self, lane: Tensor, stream: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        pooled = F.max_pool2d(lane, self.scale)  # N lane H/scale W/scale
        stream = self.conv1(torch.cat([stream, pooled], dim=1))  # N channels H/scale W/scale
        stream = self.conv2(stream)  # N channels H/scale W/scale
        # By size and not by factor, because pooling rounds down.
        residual = F.interpolate(self.residual(stream), size=lane.shape[-2:], mode="nearest")  # N lane H W
        return lane + residual, stream

    def extra_repr(self) -> str:  # noqa: D102
        return f"scale={self.scale}"


class FRRUStage(nn.ModuleList):
    """FRRUs in a row, all at one scale.

    Args:
        in_channels: channels of the stream in.
        channels: channels of the stream after the first unit.
        lane_channels: channels of the lane.
        units: number of units, at least 1.
        scale: factor by which the stream is smaller than the lane, rounded down.

    Raises:
        ValueError: if a number is below 1.

    Shape:
        That of FRRU.
    """

    def __init__(self, in_channels: int, channels: int, lane_channels: int, *, units: int, scale: int) -> None:
        check_counts(units=units)
        inputs = [in_channels] + [channels] * (units - 1)
        super().__init__(FRRU(width, channels, lane_channels, scale=scale) for width in inputs)

    def forward(self, lane: Tensor, stream: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        for unit in self:
            lane, stream = unit(lane, stream)
        return lane, stream
