"""A decoder block of a U-Net built from residual blocks with pre-activation.

He, Zhang, Ren, Sun: "Identity Mappings in Deep Residual Networks", arXiv 1603.05027.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import partial

import torch
from torch import Tensor, nn

from ..contracts import Size
from .attention import build_attention_at
from .preact_residual import PreActStage
from .upsample import Upsample


class ResidualUnetBlock(nn.Module):
    """Decoder block: upsample, concatenate with the skip, dropout, then a stage of two residual blocks.

    From the Kaggle kernel "Xception with a residual decoder" of the TGS Salt challenge.

    Args:
        in_channels: channels of the coarser map.
        skip_channels: channels of the encoder's map; 0 without a skip.
        out_channels: channels out.
        upsample: "deconv" (to `out_channels`), "nearest" or "bilinear".
        slope: slope of the leaky ReLU below zero.
        drop_rate: probability that a value of the concatenated map is dropped in training.
        attention: "none" or a name in `saltzoo.layers.ATTENTIONS`.
        attention_sites: sites that get attention: some of "skip", "concat" and "decoder", as in UnetBlock.
        attention_reduction: factor by which the channel branch of the attention narrows; None for its default.

    Shape:
        N in_channels h w and N skip_channels H W (or None) -> N out_channels H W

    Example:
        >>> x, skip = torch.randn(2, 64, 7, 7), torch.randn(2, 32, 13, 13)
        >>> ResidualUnetBlock(64, 32, 16)(x, skip, skip.shape[-2:]).shape
        torch.Size([2, 16, 13, 13])
    """

    def __init__(
        self,
        in_channels: int,
        skip_channels: int,
        out_channels: int,
        *,
        upsample: str = "deconv",
        slope: float = 0.1,
        drop_rate: float = 0.0,
        attention: str = "none",
        attention_sites: Collection[str] = ("decoder",),
        attention_reduction: int | None = None,
    ) -> None:
        super().__init__()
        attend = partial(build_attention_at, name=attention, sites=attention_sites, reduction=attention_reduction)
        self.upsample: Upsample = Upsample(in_channels, out_channels, mode=upsample)
        joined = self.upsample.out_channels + skip_channels
        self.skip_attention: nn.Module = attend("skip", skip_channels)
        self.concat_attention: nn.Module = attend("concat", joined if skip_channels else 0)
        self.dropout: nn.Module = nn.Dropout(drop_rate) if drop_rate else nn.Identity()
        self.refine: PreActStage = PreActStage(joined, out_channels, slope=slope)
        self.attention: nn.Module = attend("decoder", out_channels)

    def forward(self, x: Tensor, skip: Tensor | None, size: Size) -> Tensor:
        """Return the map at `size`, which is the size of the skip if there is one."""
        x = self.upsample(x, size)  # N in H W, or N out H W with "deconv"
        if skip is not None:
            x = torch.cat([x, self.skip_attention(skip)], dim=1)  # N joined H W
            x = self.concat_attention(x)
        x = self.refine(self.dropout(x))  # N out H W
        return self.attention(x)
