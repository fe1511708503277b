"""A step up a U-Net by residual units with pre-activation.

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
    """Brings the map to the skip's size, concatenates, drops, convolves, and refines by two residual units.

    The decoder of the Kaggle kernel "Xception with a residual decoder" of the TGS Salt challenge.

    Args:
        in_channels: channels of the coarser map.
        skip_channels: channels of the encoder's map, 0 where there is none.
        out_channels: channels out.
        upsample: "deconv" (to `out_channels`), "nearest" or "bilinear".
        slope: of the leaky ReLU below zero.
        drop_rate: values of the joined map are dropped with this probability in training.
        attention: "none" or a name of `saltzoo.layers.ATTENTIONS`.
        attention_sites: as in UnetBlock.
        attention_reduction: how far its channel branch narrows; None for its own default.

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
        self.upsample = Upsample(in_channels, out_channels, mode=upsample)
        joined = self.upsample.out_channels + skip_channels
        self.skip_attention = attend("skip", skip_channels)
        self.concat_attention = attend("concat", joined if skip_channels else 0)
        self.dropout = nn.Dropout(drop_rate) if drop_rate else nn.Identity()
        self.refine = PreActStage(joined, out_channels, slope=slope)
        self.attention = attend("decoder", out_channels)

    def forward(self, x: Tensor, skip: Tensor | None, size: Size) -> Tensor:
        """Steps up to `size`, which is the skip's where there is one."""
        x = self.upsample(x, size)  # N in H W
        if skip is not None:
            x = self.concat_attention(torch.cat([x, self.skip_attention(skip)], dim=1))  # N in+skip H W
        return self.attention(self.refine(self.dropout(x)))  # N out H W
