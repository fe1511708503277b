"""Full-resolution residual units: a lane of residuals at full size, beside a stream that is pooled.

Pohlen, Hermans, Mathias, Leibe: "Full-Resolution Residual Networks for Semantic Segmentation in Street Scenes",
arXiv 1611.08323.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .._checks import check_counts
from .conv import ConvNormAct


class ResidualUnit(nn.Module):
    """Two 3x3 convolutions with batch norm, added to the input. No ReLU after the sum: the lane stays linear.

    Args:
        channels: channels in.
        out_channels: channels out; None for as many as come in. The shortcut is a 1x1 convolution where they differ.

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
        self.shortcut = nn.Identity() if same else nn.Conv2d(channels, out_channels, kernel_size=1, bias=False)
        self.conv1 = ConvNormAct(channels, out_channels)
        self.conv2 = ConvNormAct(out_channels, out_channels, act=False)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return self.shortcut(x) + self.conv2(self.conv1(x))


class FRRU(nn.Module):
    """Full-resolution residual unit: the pooled stream looks at the lane, and adds to it what it found.

    Args:
        in_channels: channels of the stream that comes in.
        channels: channels of the stream that goes out.
        lane_channels: channels of the lane.
        scale: how many times smaller than the lane the stream is, rounded down. Where it does not divide H or W,
            the last rows or columns of the lane are not pooled; what is added covers the whole lane all the same.

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
        self.conv1 = ConvNormAct(in_channels + lane_channels, channels)
        self.conv2 = ConvNormAct(channels, channels)
        self.residual = nn.Conv2d(channels, lane_channels, kernel_size=1)

    def forward(self, lane: Tensor, stream: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        pooled = F.max_pool2d(lane, self.scale)  # N lane H/scale W/scale
        stream = self.conv2(self.conv1(torch.cat([stream, pooled], dim=1)))  # N channels H/scale W/scale
        # To the lane's own size, not by the factor: pooling has rounded down.
        residual = F.interpolate(self.residual(stream), size=lane.shape[-2:], mode="nearest")  # N lane H W
        return lane + residual, stream

    def extra_repr(self) -> str:  # noqa: D102
        return f"scale={self.scale}"


class FRRUStage(nn.ModuleList):
    """FRRUs in a row, all at one scale.

    Args:
        in_channels: channels of the stream that comes in.
        channels: channels of the stream from the first unit on.
        lane_channels: channels of the lane.
        units: how many, at least 1.
        scale: as in FRRU.

    Raises:
        ValueError: if there is no unit.

    Shape:
        As FRRU.
    """

    def __init__(self, in_channels: int, channels: int, lane_channels: int, *, units: int, scale: int) -> None:
        check_counts(units=units)
        inputs = [in_channels] + [channels] * (units - 1)
        super().__init__(FRRU(width, channels, lane_channels, scale=scale) for width in inputs)

    def forward(self, lane: Tensor, stream: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        for unit in self:
            lane, stream = unit(lane, stream)
        return lane, stream
