"""The way up of a full-resolution residual network.

Pohlen, Hermans, Mathias, Leibe: "Full-Resolution Residual Networks for Semantic Segmentation in Street Scenes",
arXiv 1611.08323.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..contracts import FeatureSpec, Size
from ..layers import FRRUStage, ResidualUnit


class FRRNDecoder(nn.Module):
    """Doubles the stream before each stage of FRRUs, and at full size puts it together with the lane.

    Args:
        spec: what FRRNEncoder returns: the lane at full size, and the stream.
        stages: (units, channels) of each stage, coarsest first: one for each halving of the encoder but the first.
        base_channels: channels of the three residual units that close the network at full size.

    Attributes:
        channels: channels of the maps that `forward` returns.
        reduction: 1, the last of them has the size of the image.

    Raises:
        ValueError: if `spec` is not that of a lane and a stream, or `stages` not one shorter than the way down.

    Example:
        >>> spec = FeatureSpec((4, 32), (1, 4))
        >>> decoder = FRRNDecoder(spec, ((1, 16),), base_channels=8)
        >>> maps = decoder([torch.randn(2, 4, 37, 41), torch.randn(2, 32, 9, 10)], (37, 41))
        >>> [tuple(m.shape) for m in maps]
        [(2, 16, 18, 20), (2, 8, 37, 41)]
    """

    reduction = 1

    def __init__(
        self,
        spec: FeatureSpec,
        stages: Sequence[tuple[int, int]] = ((2, 192), (2, 192), (2, 96)),
        *,
        base_channels: int = 48,
    ) -> None:
        super().__init__()
        if len(spec.channels) != 2 or spec.reductions[0] != 1:
            raise ValueError(f"spec must be that of a lane at full size and a stream, as FRRNEncoder's, got {spec}")
        halvings = spec.coarsest.bit_length() - 1
        if len(stages) != halvings - 1:
            raise ValueError(
                f"this encoder halves its stream {halvings} times, so stages must be {halvings - 1} pairs of "
                f"(units, channels), coarsest first; got {tuple(stages)}"
            )
        lane_channels, width = spec.channels
        self.scales = [spec.coarsest >> (step + 1) for step in range(len(stages))]
        self.stages = nn.ModuleList()
        for scale, (units, channels) in zip(self.scales, stages, strict=True):
            self.stages.append(FRRUStage(width, channels, lane_channels, units=units, scale=scale))
            width = channels
        self.full = nn.Sequential(
            ResidualUnit(width + lane_channels, base_channels), *(ResidualUnit(base_channels) for _ in range(2))
        )
        self.channels = (*(channels for _, channels in stages), base_channels)

    def forward(self, features: Sequence[Tensor], size: Size) -> list[Tensor]:
        """Decodes what the encoder returns.

        Args:
            features: lane and stream.
            size: H and W of the image.

        Returns:
            The stream after every stage, coarsest first, and N base_channels H W.
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
