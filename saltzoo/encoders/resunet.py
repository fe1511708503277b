"""The way down of a pre-activation residual U-Net.

Zhang, Liu, Wang: "Road Extraction by Deep Residual U-Net", arXiv 1711.10684.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from ..contracts import FeatureSpec
from ..layers import PreActStage, append_scalar

SCALAR_CHANNELS = ("none", "bottleneck")


class ResUnetEncoder(nn.Module):
    """A stage of pre-activation residuals at each size, max-pooling and dropout between.

    Args:
        channels: channels at each size, from full resolution down.
        in_chans: channels of the image.
        drop_rate: of the dropout after each pooling; half of it after the first.
        scalar_channel: what the image's last channel is. "none": a channel like the others. "bottleneck": a plane
            that holds one number for the whole image, such as its depth. The network then sees the image without
            it, and the number is a further channel of the coarsest stage's input.

    Attributes:
        spec: the FeatureSpec of what `forward` returns.

    Raises:
        ValueError: if `scalar_channel` is unknown, or is the only channel.

    Shape:
        N in_chans H W -> a list of maps N channels[i] H/2^i W/2^i (rounded down), finest first.

    Example:
        >>> import torch
        >>> [tuple(x.shape) for x in ResUnetEncoder((8, 16, 32))(torch.randn(2, 1, 101, 101))]
        [(2, 8, 101, 101), (2, 16, 50, 50), (2, 32, 25, 25)]
    """

    def __init__(
        self,
        channels: Sequence[int] = (16, 32, 64, 128, 256),
        *,
        in_chans: int = 1,
        drop_rate: float = 0.0,
        scalar_channel: str = "none",
    ) -> None:
        super().__init__()
        if not channels or min(channels) < 1:
            raise ValueError(f"channels must be at least 1, got {tuple(channels)}")
        if scalar_channel not in SCALAR_CHANNELS:
            raise ValueError(f"unknown scalar_channel {scalar_channel!r}: choose one of {list(SCALAR_CHANNELS)}")
        self.has_scalar = scalar_channel == "bottleneck"
        if self.has_scalar and in_chans < 2:
            raise ValueError(
                f'scalar_channel="bottleneck" takes the last channel away from the image, so in_chans must be at '
                f'least 2, got {in_chans}: give the scalar as a channel, or say scalar_channel="none"'
            )
        self.spec = FeatureSpec(tuple(channels), tuple(1 << i for i in range(len(channels))))
        inputs = [in_chans - self.has_scalar, *channels[:-1]]
        inputs[-1] += self.has_scalar
        self.stages = nn.ModuleList(
            PreActStage(below, width, bias=True) for below, width in zip(inputs, channels, strict=True)
        )
        # Halved where the maps are widest and hold little more than the image.
        rates = [drop_rate / 2, *[drop_rate] * len(channels)][: len(channels) - 1]
        self.dropouts = nn.ModuleList(nn.Dropout(rate, inplace=True) for rate in rates)

    def forward(self, x: Tensor) -> list[Tensor]:  # noqa: D102
        scalar = None
        if self.has_scalar:
            x, plane = x[:, :-1], x[:, -1:]
            scalar = plane.mean((2, 3))  # N 1
        features = [self.stages[0](x)]
        for dropout, stage in zip(self.dropouts, self.stages[1:], strict=True):
            x = dropout(F.max_pool2d(features[-1], 2))
            if scalar is not None and stage is self.stages[-1]:
                x = append_scalar(x, scalar)
            features.append(stage(x))
        return features
