"""The U-Net decoder: climb the pyramid, at each step joined by the encoder's map of that size.

Ronneberger, Fischer, Brox: "U-Net: Convolutional Networks for Biomedical Image Segmentation", arXiv 1505.04597.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..features import FeatureSpec
from ..layers import ConvNormAct, build_attention

Size = tuple[int, int] | torch.Size


class UnetBlock(nn.Module):
    """One step up: resize to the skip, concatenate, two convolutions, attention.

    Args:
        in_channels: channels of the coarser map.
        skip_channels: channels of the encoder's map, 0 where there is none.
        out_channels: channels out.
        concat_attention: a module for the concatenated map.
        attention: a module for the block's output.

    Shape:
        N in_channels h w and N skip_channels H W -> N out_channels H W
    """

    def __init__(
        self,
        in_channels: int,
        skip_channels: int,
        out_channels: int,
        *,
        concat_attention: nn.Module | None = None,
        attention: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.concat_attention = concat_attention or nn.Identity()
        self.conv1 = ConvNormAct(in_channels + skip_channels, out_channels)
        self.conv2 = ConvNormAct(out_channels, out_channels)
        self.attention = attention or nn.Identity()

    def forward(self, x: Tensor, skip: Tensor | None, size: Size) -> Tensor:
        """Steps up to `size`, which is the skip's where there is one."""
        x = F.interpolate(x, size=size, mode="nearest")  # N in H W
        if skip is not None:
            x = self.concat_attention(torch.cat([x, skip], dim=1))  # N in+skip H W
        return self.attention(self.conv2(self.conv1(x)))  # N out H W


class UnetDecoder(nn.Module):
    """UnetBlocks from the coarsest map to full resolution, one for each halving.

    Args:
        spec: what the encoder returns. A reduction that it skips gets a block without a skip.
        channels: channels of the blocks, coarsest first; as many as the encoder halves the image.
        attention: "none" or a name of `saltzoo.layers.ATTENTIONS`, after every block.
        concat_attention: the same, on the concatenated map of every block that has a skip.
        attention_reduction: how far the attention's channel branch narrows.

    Attributes:
        channels: channels of the maps that `forward` returns.

    Raises:
        ValueError: if `channels` has not one number for each halving.
    """

    def __init__(
        self,
        spec: FeatureSpec,
        channels: Sequence[int] = (256, 128, 64, 32, 16),
        *,
        attention: str = "none",
        concat_attention: str = "none",
        attention_reduction: int = 2,
    ) -> None:
        super().__init__()
        halvings = spec.coarsest.bit_length() - 1
        if len(channels) != halvings or min(channels) < 1:
            raise ValueError(
                f"this encoder halves the image {halvings} times, so decoder_channels must be {halvings} "
                f"positive numbers, coarsest first; got {tuple(channels)}"
            )
        self.channels = tuple(channels)
        self.spec = spec
        self.blocks = nn.ModuleList()
        below = spec.channels[-1]
        for step, out_channels in enumerate(channels):
            skip = spec.channels_at(spec.coarsest >> (step + 1))
            # A block without a skip concatenates nothing: attention there would only double its neighbour's.
            concat = concat_attention if skip else "none"
            self.blocks.append(
                UnetBlock(
                    below,
                    skip,
                    out_channels,
                    concat_attention=build_attention(concat, below + skip, reduction=attention_reduction),
                    attention=build_attention(attention, out_channels, reduction=attention_reduction),
                )
            )
            below = out_channels

    def forward(self, features: Sequence[Tensor], size: Size) -> list[Tensor]:
        """Decodes a pyramid.

        Args:
            features: the encoder's maps, finest first.
            size: H and W of the image.

        Returns:
            One map a block, coarsest first; the last is N channels[-1] H W.
        """
        skips = dict(zip(self.spec.reductions, features, strict=True))
        x = features[-1]
        maps = []
        for step, block in enumerate(self.blocks):
            reduction = self.spec.coarsest >> (step + 1)
            skip = skips.get(reduction)
            # Never a factor: the skip's own size, so that odd sizes and valid padding meet exactly.
            x = block(x, skip, _reduced(size, reduction) if skip is None else skip.shape[-2:])
            maps.append(x)
        return maps


def _reduced(size: Size, reduction: int) -> tuple[int, int]:
    """H and W after halving, rounded up, down to `reduction`."""
    return (size[0] + reduction - 1) // reduction, (size[1] + reduction - 1) // reduction
