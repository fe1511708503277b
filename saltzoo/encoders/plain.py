"""The way down of the 2015 U-Net.

Ronneberger, Fischer, Brox: "U-Net: Convolutional Networks for Biomedical Image Segmentation", arXiv 1505.04597.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from ..contracts import FeatureSpec
from ..layers import ConvNormAct, build_attention


class PlainEncoder(nn.Module):
    """Two 3x3 convolutions at each size, max-pooling between; batch-normed and padded, which the paper's were not.

    Args:
        channels: channels at each size, from full resolution down.
        in_chans: channels of the image.
        attention: "none" or a name of `saltzoo.layers.ATTENTIONS`, after each size's convolutions.
        attention_reduction: how far its channel branch narrows; None for its own default.

    Attributes:
        spec: the FeatureSpec of what `forward` returns.

    Shape:
        N in_chans H W -> a list of maps N channels[i] H/2^i W/2^i (rounded down), finest first.

    Example:
        >>> import torch
        >>> [tuple(x.shape) for x in PlainEncoder((8, 16))(torch.randn(2, 1, 101, 101))]
        [(2, 8, 101, 101), (2, 16, 50, 50)]
    """

    def __init__(
        self,
        channels: Sequence[int] = (64, 128, 256, 512, 1024),
        *,
        in_chans: int = 1,
        attention: str = "none",
        attention_reduction: int | None = None,
    ) -> None:
        super().__init__()
        if not channels or min(channels) < 1:
            raise ValueError(f"channels must be at least 1, got {tuple(channels)}")
        self.spec = FeatureSpec(tuple(channels), tuple(1 << i for i in range(len(channels))))
        before = (in_chans, *channels)
        self.stages = nn.ModuleList(
            nn.Sequential(
                ConvNormAct(before[i], width),
                ConvNormAct(width, width),
                build_attention(attention, width, reduction=attention_reduction),
            )
            for i, width in enumerate(channels)
        )

    def forward(self, x: Tensor) -> list[Tensor]:  # noqa: D102
        features: list[Tensor] = []
        for stage in self.stages:
            x = stage(F.max_pool2d(x, 2) if features else x)
            features.append(x)
        return features
