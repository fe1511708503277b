"""The way down of a full-resolution residual network.

Pohlen, Hermans, Mathias, Leibe: "Full-Resolution Residual Networks for Semantic Segmentation in Street Scenes",
arXiv 1611.08323.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from ..contracts import FeatureSpec
from ..layers import ConvNormAct, FRRUStage, ResidualUnit


class FRRNEncoder(nn.Module):
    """A lane that stays at full size, and a stream beside it that is halved before each stage of FRRUs.

    Args:
        stages: (units, channels) of each stage, finest first; the first works at half the image's size.
        in_chans: channels of the image.
        base_channels: channels at full size: of the 5x5 convolution and of the three residual units after it.
        lane_channels: channels of the lane.

    Attributes:
        spec: the FeatureSpec of what `forward` returns.

    Raises:
        ValueError: if there is no stage, or one of no unit.

    Shape:
        N in_chans H W -> [lane N lane_channels H W, stream N channels H//2**s W//2**s] after s stages

    Example:
        >>> import torch
        >>> encoder = FRRNEncoder(((1, 16), (1, 32)), base_channels=8, lane_channels=4)
        >>> [tuple(m.shape) for m in encoder(torch.randn(2, 1, 37, 41))]
        [(2, 4, 37, 41), (2, 32, 9, 10)]
    """

    def __init__(
        self,
        stages: Sequence[tuple[int, int]] = ((3, 96), (4, 192), (2, 384), (2, 384)),
        *,
        in_chans: int = 1,
        base_channels: int = 48,
        lane_channels: int = 32,
    ) -> None:
        super().__init__()
        if not stages:
            raise ValueError("stages must hold at least one (units, channels), got none")
        self.stem = nn.Sequential(
            ConvNormAct(in_chans, base_channels, kernel_size=5), *(ResidualUnit(base_channels) for _ in range(3))
        )
        self.to_lane = ConvNormAct(base_channels, lane_channels, kernel_size=1, act=False)
        self.stages = nn.ModuleList()
        width, scale = base_channels, 1
        for units, channels in stages:
            scale *= 2
            self.stages.append(FRRUStage(width, channels, lane_channels, units=units, scale=scale))
            width = channels
        self.spec = FeatureSpec((lane_channels, width), (1, scale))

    def forward(self, x: Tensor) -> list[Tensor]:  # noqa: D102
        stream = self.stem(x)  # N base H W
        lane = self.to_lane(stream)  # N lane H W
        for stage in self.stages:
            lane, stream = stage(lane, F.max_pool2d(stream, 2))  # N lane H W, N channels H/2**s W/2**s
        return [lane, stream]
