"""Full-resolution residual networks (FRRN), variants A and B.

Pohlen, Hermans, Mathias, Leibe: "Full-Resolution Residual Networks for Semantic Segmentation in Street Scenes",
arXiv 1611.08323.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .._config import Count
from ..contracts import FeatureSpec, Size
from ..heads import SegmentationHead
from ..layers import ConvNormAct, FRRUStage, ResidualUnit
from .options import NetworkOptions
from .segmenter import Segmenter

# Stages as (units, channels in multiples of base_channels): encoder, finest first; decoder, coarsest first.
_STAGES = {
    "a": (((3, 2), (4, 4), (2, 8), (2, 8)), ((2, 4), (2, 4), (2, 2))),
    "b": (((3, 2), (4, 4), (2, 8), (2, 8), (2, 8)), ((2, 4), (2, 4), (2, 4), (2, 2))),
}


class FRRNEncoder(nn.Module):
    """A residual lane at full size, and beside it a stream that is halved before each stage of FRRUs.

    Args:
        stages: (units, channels) of each stage, finest first; the first works at half the image's size.
        in_chans: channels of the image.
        base_channels: channels of the stem: a 5x5 convolution and three residual units at full size.
        lane_channels: channels of the lane.

    Attributes:
        spec: channels and reductions of the maps.

    Shape:
        N in_chans H W -> [lane N lane_channels H W, stream N channels H//2**s W//2**s] after s stages

    Example:
        >>> encoder = FRRNEncoder(((1, 16), (1, 32)), in_chans=1, base_channels=8, lane_channels=4)
        >>> [tuple(m.shape) for m in encoder(torch.randn(2, 1, 37, 41))]
        [(2, 4, 37, 41), (2, 32, 9, 10)]
    """

    def __init__(
        self, stages: Sequence[tuple[int, int]], *, in_chans: int, base_channels: int, lane_channels: int
    ) -> None:
        super().__init__()
        self.stem: nn.Sequential = nn.Sequential(
            ConvNormAct(in_chans, base_channels, kernel_size=5), *(ResidualUnit(base_channels) for _ in range(3))
        )
        self.to_lane: ConvNormAct = ConvNormAct(base_channels, lane_channels, kernel_size=1, act=False)
        self.stages: nn.ModuleList = nn.ModuleList()
        width, scale = base_channels, 1
        for units, channels in stages:
            scale *= 2
            self.stages.append(FRRUStage(width, channels, lane_channels, units=units, scale=scale))
            width = channels
        self.spec: FeatureSpec = FeatureSpec((lane_channels, width), (1, scale))

    def forward(self, x: Tensor) -> list[Tensor]:  # noqa: D102
        stream = self.stem(x)  # N base H W
        lane = self.to_lane(stream)  # N lane H W
        for stage in self.stages:
            lane, stream = stage(lane, F.max_pool2d(stream, 2))  # N lane H W, N channels H/2**s W/2**s
        return [lane, stream]


class FRRNDecoder(nn.Module):
    """Doubles the stream before each stage of FRRUs, and joins it with the lane at full size.

    Args:
        spec: FeatureSpec of the FRRNEncoder.
        stages: (units, channels) of each stage, coarsest first; one fewer than the encoder has.
        base_channels: channels of the three residual units that close the network at full size.

    Attributes:
        channels: channels of the maps that `forward` returns.
        reduction: 1, the last map has the size of the image.

    Example:
        >>> decoder = FRRNDecoder(FeatureSpec((4, 32), (1, 4)), ((1, 16),), base_channels=8)
        >>> maps = decoder([torch.randn(2, 4, 37, 41), torch.randn(2, 32, 9, 10)], (37, 41))
        >>> [tuple(m.shape) for m in maps]
        [(2, 16, 18, 20), (2, 8, 37, 41)]
    """

    reduction = 1

    def __init__(self, spec: FeatureSpec, stages: Sequence[tuple[int, int]], *, base_channels: int) -> None:
        super().__init__()
        lane_channels, width = spec.channels
        self.scales: list[int] = [spec.coarsest >> (step + 1) for step in range(len(stages))]
        self.stages: nn.ModuleList = nn.ModuleList()
        for scale, (units, channels) in zip(self.scales, stages, strict=True):
            self.stages.append(FRRUStage(width, channels, lane_channels, units=units, scale=scale))
            width = channels
        self.full: nn.Sequential = nn.Sequential(
            ResidualUnit(width + lane_channels, base_channels), *(ResidualUnit(base_channels) for _ in range(2))
        )
        self.channels: tuple[int, ...] = (*(channels for _, channels in stages), base_channels)

    def forward(self, features: Sequence[Tensor], size: Size) -> list[Tensor]:
        """Return the stream after every stage, coarsest first, and the joined map N base_channels H W.

        Args:
            features: lane and stream.
            size: H and W of the image.
        """
        lane, stream = features
        maps = []
        for scale, stage in zip(self.scales, self.stages, strict=True):
            lane, stream = stage(lane, _resized(stream, (size[0] // scale, size[1] // scale)))
            maps.append(stream)  # N channels H/scale W/scale
        joined = torch.cat([_resized(stream, size), lane], dim=1)  # N channels+lane H W
        return [*maps, self.full(joined)]


def _resized(x: Tensor, size: Size) -> Tensor:
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


@dataclass(frozen=True, kw_only=True)
class FRRNOptions(NetworkOptions):
    """Options of a full-resolution residual network (arXiv 1611.08323), which is trained from scratch.

    A lane of residuals runs through the whole network at the image's size. Beside it a stream is pooled, as in a
    U-Net; every unit reads the lane and adds to it. Boundaries stay sharp, at the price of memory.

    Attributes:
        variant: "a" pools to a 16th of the image's size (17.7 million parameters), "b" to a 32nd (24.8 million).
        base_channels: channels at full size; those of the stages are multiples of it.
        lane_channels: channels of the lane.

    Raises:
        ValueError: if the variant is unknown, or a number is below 1.
    """

    variant: Literal["a", "b"] = "a"
    base_channels: Count = 48
    lane_channels: Count = 32

    def build(self) -> Segmenter:
        """Return the network."""
        down, up = (
            [(units, multiple * self.base_channels) for units, multiple in stages] for stages in _STAGES[self.variant]
        )
        encoder = FRRNEncoder(
            down, in_chans=self.in_chans, base_channels=self.base_channels, lane_channels=self.lane_channels
        )
        decoder = FRRNDecoder(encoder.spec, up, base_channels=self.base_channels)
        head = SegmentationHead(self.base_channels, self.num_classes, kernel_size=1)
        return Segmenter(encoder, decoder, head, in_chans=self.in_chans)
