"""The way down of the small U-Net with pyramid pooling: the 15th-place solution of the TGS Salt challenge."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from ..contracts import FeatureSpec
from ..layers import ConvNormAct, bottleneck_stage


class PSPUNetEncoder(nn.Module):
    """A convolution at full size, and three stages of three bottlenecks that halve it.

    Args:
        in_chans: channels of the image.
        attention: makes the module that stands after a stage, in the path, from the stage's channels.

    Attributes:
        spec: the FeatureSpec of what `forward` returns.

    Shape:
        N in_chans H W -> a list of maps N 32 H W, N 64 H/2 W/2, N 128 H/4 W/4, N 256 H/8 W/8 (rounded up).

    Example:
        >>> import torch
        >>> [tuple(x.shape) for x in PSPUNetEncoder()(torch.randn(2, 1, 101, 101))]
        [(2, 32, 101, 101), (2, 64, 51, 51), (2, 128, 26, 26), (2, 256, 13, 13)]
    """

    spec = FeatureSpec((32, 64, 128, 256), (1, 2, 4, 8))

    def __init__(self, in_chans: int = 1, *, attention: Callable[[int], nn.Module] = nn.Identity) -> None:
        super().__init__()
        before, *after = self.spec.channels
        self.stem = ConvNormAct(in_chans, before)
        self.stages = nn.ModuleList()
        for channels in after:
            blocks = bottleneck_stage(before, channels // 4, channels, stride=2)
            self.stages.append(nn.Sequential(blocks, attention(channels)))
            before = channels

    def forward(self, x: Tensor) -> list[Tensor]:  # noqa: D102
        features = [self.stem(x)]
        for stage in self.stages:
            features.append(stage(features[-1]))
        return features
