"""The encoder of saltnet: a residual network that never works at full resolution."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from ..contracts import FeatureSpec
from ..layers import BasicBlock, ConvNormAct, build_attention


class SaltnetEncoder(nn.Module):
    """Pixel-unshuffle, a 3x3 convolution, and residual stages at /2, /4, /8, ... with attention after each.

    An odd image is made even by repeating its last row or column; half sizes are therefore rounded up.

    Args:
        channels: channels of the stages, finest first.
        in_chans: channels of the image.
        blocks: residual blocks in each stage.
        attention: "none" or a name of `saltzoo.layers.ATTENTIONS`.
        attention_reduction: how far its channel branch narrows; None for its own default.

    Attributes:
        spec: the FeatureSpec of what `forward` returns.

    Shape:
        N in_chans H W -> a list of maps N channels[i] H/2^(i+1) W/2^(i+1), finest first.

    Example:
        >>> import torch
        >>> [tuple(x.shape) for x in SaltnetEncoder((8, 16))(torch.randn(2, 1, 101, 101))]
        [(2, 8, 51, 51), (2, 16, 26, 26)]
    """

    def __init__(
        self,
        channels: Sequence[int] = (32, 64, 128, 192),
        *,
        in_chans: int = 1,
        blocks: int = 2,
        attention: str = "none",
        attention_reduction: int | None = None,
    ) -> None:
        super().__init__()
        if not channels or min(channels) < 1 or blocks < 1:
            raise ValueError(f"channels and blocks must be at least 1, got {tuple(channels)} and {blocks}")
        self.spec = FeatureSpec(tuple(channels), tuple(2 << i for i in range(len(channels))))
        self.stem = ConvNormAct(4 * in_chans, channels[0])
        before = (channels[0], *channels)
        self.stages = nn.ModuleList(
            nn.Sequential(
                BasicBlock(before[i], width, stride=2 if i else 1),
                *(BasicBlock(width, width) for _ in range(blocks - 1)),
                build_attention(attention, width, reduction=attention_reduction),
            )
            for i, width in enumerate(channels)
        )

    def forward(self, x: Tensor) -> list[Tensor]:  # noqa: D102
        height, width = x.shape[-2:]
        # Not `height % 2`: that the sum of the two is even, torch.export can't prove of a free size.
        below, right = 2 * ((height + 1) // 2) - height, 2 * ((width + 1) // 2) - width
        x = F.pad(x, (0, right, 0, below), mode="replicate")
        x = self.stem(F.pixel_unshuffle(x, 2))  # N c H/2 W/2
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features
