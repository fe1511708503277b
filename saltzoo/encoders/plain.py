"""The encoder of the 2015 U-Net.

Ronneberger, Fischer, Brox: "U-Net: Convolutional Networks for Biomedical Image Segmentation", arXiv 1505.04597.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from .._checks import check_counts
from ..contracts import FeatureSpec
from ..layers import ConvNormAct, build_attention


class PlainEncoder(nn.Module):
    """Two 3x3 convolutions at each size and max-pooling in between, with batch norm and padding unlike the paper.

    Args:
        channels: channels at each size, finest first.
        in_chans: channels of the image.
        attention: "none" or a name in `saltzoo.layers.ATTENTIONS`; placed after the convolutions of each size.
        attention_reduction: factor by which the channel branch of the attention narrows; None for its default.

    Attributes:
        spec: channels and reductions of the maps.

    Shape:
        N in_chans H W -> maps N channels[i] H/2^i W/2^i, rounded down, finest first.

    Raises:
        ValueError: if `channels` is empty or a number is below 1, or the attention is unknown.

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
        check_counts(channels=channels)
        self.spec: FeatureSpec = FeatureSpec(tuple(channels), tuple(1 << i for i in range(len(channels))))
        before = (in_chans, *channels)
        self.stages: nn.ModuleList = nn.ModuleList(
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
            features.append(x)  # N channels[i] H/2^i W/2^i
        return features
