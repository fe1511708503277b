"""saltnet: a small and fast U-Net for gray tiles, designed for saltzoo.

No convolution works at full resolution: pixel-unshuffle halves the image at the entrance, and pixel-shuffle brings the
logits to full size at the exit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from .._config import Count
from ..contracts import FeatureSpec
from ..decoders import UnetDecoder
from ..layers import BasicBlock, ConvNormAct, build_attention
from .head_options import AttentionOptions
from .segmenter import Segmenter


class SaltnetEncoder(nn.Module):
    """Pixel-unshuffle, a 3x3 convolution, and residual stages at /2, /4, /8, ... with attention after each.

    An image with an odd side is made even by repeating its last row or column, so half sizes are rounded up.

    Args:
        channels: channels of the stages, finest first.
        in_chans: channels of the image.
        blocks: residual blocks in each stage.
        attention: "none" or a name of `saltzoo.layers.ATTENTIONS`.
        attention_reduction: factor by which the channel branch narrows; None for the attention's default.

    Attributes:
        spec: channels and reductions of the maps.

    Shape:
        N in_chans H W -> a list of maps N channels[i] H/2^(i+1) W/2^(i+1), finest first.

    Example:
        >>> import torch
        >>> [tuple(x.shape) for x in SaltnetEncoder((8, 16))(torch.randn(2, 1, 101, 101))]
        [(2, 8, 51, 51), (2, 16, 26, 26)]
    """

    def __init__(
        self,
        channels: Sequence[int],
        *,
        in_chans: int = 1,
        blocks: int = 2,
        attention: str = "none",
        attention_reduction: int | None = None,
    ) -> None:
        super().__init__()
        self.spec: FeatureSpec = FeatureSpec(tuple(channels), tuple(2 << i for i in range(len(channels))))
        self.stem: ConvNormAct = ConvNormAct(4 * in_chans, channels[0])
        before = (channels[0], *channels)
        self.stages: nn.ModuleList = nn.ModuleList(
            nn.Sequential(
                BasicBlock(before[i], width, stride=2 if i else 1),
                *(BasicBlock(width, width) for _ in range(blocks - 1)),
                build_attention(attention, width, reduction=attention_reduction),
            )
            for i, width in enumerate(channels)
        )

    def forward(self, x: Tensor) -> list[Tensor]:  # noqa: D102
        height, width = x.shape[-2:]
        # Not `height % 2`: torch.export cannot prove for a free size that the sum of the two is even.
        below, right = 2 * ((height + 1) // 2) - height, 2 * ((width + 1) // 2) - width
        x = F.pad(x, (0, right, 0, below), mode="replicate")
        x = self.stem(_pixel_unshuffle(x))  # N c H/2 W/2
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features


def _pixel_unshuffle(x: Tensor) -> Tensor:
    """N C H W -> N 4C H/2 W/2; torch's function returns an empty batch as it is."""
    if x.shape[0] == 0:
        return x.new_zeros((0, 4 * x.shape[1], x.shape[2] // 2, x.shape[3] // 2))
    return F.pixel_unshuffle(x, 2)


@dataclass(frozen=True, kw_only=True)
class SaltnetOptions(AttentionOptions):
    """Options of saltnet, a small and fast U-Net for gray tiles.

    Attributes:
        channels: channels of the encoder's stages, at /2, /4, /8, ...
        blocks: residual blocks in each stage.
        decoder_channels: channels of the decoder's blocks, coarsest first; one fewer than stages.
        attention: "none" or a name of `saltzoo.layers.ATTENTIONS`, after every stage, in the path.

    Raises:
        ValueError: if a value is outside its limits, or two options contradict each other.
    """

    channels: Sequence[Count] = (32, 64, 128, 192)
    blocks: Count = 2
    decoder_channels: Sequence[Count] = (64, 48, 32)
    attention: str = "scse"
    hypercolumn: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.channels) < 2:
            raise ValueError(f"channels must be at least two numbers, got {tuple(self.channels)}")
        if len(self.decoder_channels) != len(self.channels) - 1:
            raise ValueError(
                f"decoder_channels must be one fewer than channels, so that the decoder ends at half size: "
                f"got {tuple(self.decoder_channels)} for {tuple(self.channels)}"
            )

    def build(self) -> Segmenter:
        """Return the network.

        Raises:
            ValueError: if the attention is unknown.
        """
        encoder = SaltnetEncoder(
            self.channels,
            in_chans=self.in_chans,
            blocks=self.blocks,
            attention=self.attention,
            attention_reduction=self.attention_reduction,
        )
        # With the center the hypercolumn reads four maps; the decoder's blocks give only three.
        decoder = UnetDecoder(encoder.spec, self.decoder_channels, with_center=True)
        return self.wire(encoder, decoder)
