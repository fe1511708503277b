"""One step up a U-Net: a coarse map meets the encoder's map of the next size.

Ronneberger, Fischer, Brox: "U-Net: Convolutional Networks for Biomedical Image Segmentation", arXiv 1505.04597.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import partial

import torch
from torch import Tensor, nn

from ..contracts import Size
from .attention import build_attention_at
from .conv import ConvNormAct
from .norm import PooledBatchNorm
from .upsample import Upsample


class UnetBlock(nn.Module):
    """Resizes to the skip, concatenates, convolves twice.

    Args:
        in_channels: channels of the coarser map.
        skip_channels: channels of the encoder's map, 0 where there is none.
        out_channels: channels out.
        upsample: "nearest", "bilinear" or "deconv" (to `out_channels`, as in the paper).
        attention: "none" or a name of `saltzoo.layers.ATTENTIONS`.
        attention_sites: where it stands: on the "skip", on the concatenated map ("concat"), on the block's output
            ("decoder"). Without a skip there is only the last.
        attention_reduction: how far its channel branch narrows; None for its own default.

    Shape:
        N in_channels h w and N skip_channels H W (or None) -> N out_channels H W

    Example:
        >>> import torch
        >>> x, skip = torch.randn(2, 64, 7, 7), torch.randn(2, 32, 13, 13)
        >>> UnetBlock(64, 32, 16, attention="scse")(x, skip, skip.shape[-2:]).shape
        torch.Size([2, 16, 13, 13])
    """

    def __init__(
        self,
        in_channels: int,
        skip_channels: int,
        out_channels: int,
        *,
        upsample: str = "nearest",
        attention: str = "none",
        attention_sites: Collection[str] = ("decoder",),
        attention_reduction: int | None = None,
    ) -> None:
        super().__init__()
        attend = partial(build_attention_at, name=attention, sites=attention_sites, reduction=attention_reduction)
        self.upsample = Upsample(in_channels, out_channels, mode=upsample)
        joined = self.upsample.out_channels + skip_channels
        self.skip_attention = attend("skip", skip_channels)
        # Without a skip nothing is concatenated: attention there would only double its neighbour's.
        self.concat_attention = attend("concat", joined if skip_channels else 0)
        self.conv1 = ConvNormAct(joined, out_channels)
        self.conv2 = ConvNormAct(out_channels, out_channels)
        self.attention = attend("decoder", out_channels)

    def forward(self, x: Tensor, skip: Tensor | None, size: Size) -> Tensor:
        """Steps up to `size`, which is the skip's where there is one."""
        x = self.upsample(x, size)  # N in H W
        if skip is not None:
            x = self.concat_attention(torch.cat([x, self.skip_attention(skip)], dim=1))  # N in+skip H W
        return self.attention(self.conv2(self.conv1(x)))  # N out H W


class HalfUnetBlock(nn.Module):
    """Half of the output from each side: a deconvolution of the map beside a 1x1 convolution of the skip.

    Far fewer multiplications than UnetBlock: no 3x3 convolution sees the concatenated map. ReLU, then batch norm
    close the block. Two solutions of the TGS Salt challenge are built of it.

    Args:
        in_channels: channels of the coarser map.
        skip_channels: channels of the encoder's map; with 0 the deconvolution makes the whole output.
        out_channels: channels out, at least 2.
        upsample: "deconv", or "nearest" or "bilinear" after a 1x1 convolution.
        attention: "none" or a name of `saltzoo.layers.ATTENTIONS`.
        attention_sites: as in UnetBlock.
        attention_reduction: how far its channel branch narrows; None for its own default.

    Shape:
        N in_channels h w and N skip_channels H W (or None) -> N out_channels H W

    Example:
        >>> import torch
        >>> x, skip = torch.randn(2, 64, 7, 7), torch.randn(2, 32, 13, 13)
        >>> HalfUnetBlock(64, 32, 16)(x, skip, skip.shape[-2:]).shape
        torch.Size([2, 16, 13, 13])
    """

    def __init__(
        self,
        in_channels: int,
        skip_channels: int,
        out_channels: int,
        *,
        upsample: str = "deconv",
        attention: str = "none",
        attention_sites: Collection[str] = ("decoder",),
        attention_reduction: int | None = None,
    ) -> None:
        super().__init__()
        if out_channels < 2:
            raise ValueError(f"out_channels must be at least 2, one for each side, got {out_channels}")
        attend = partial(build_attention_at, name=attention, sites=attention_sites, reduction=attention_reduction)
        from_skip = out_channels // 2 if skip_channels else 0
        from_below = out_channels - from_skip
        self.project = nn.Identity() if upsample == "deconv" else nn.Conv2d(in_channels, from_below, kernel_size=1)
        self.upsample = Upsample(in_channels, from_below, mode=upsample)
        self.skip_attention = attend("skip", skip_channels)
        self.project_skip = nn.Conv2d(skip_channels, from_skip, kernel_size=1) if skip_channels else nn.Identity()
        self.concat_attention = attend("concat", out_channels if skip_channels else 0)
        self.act = nn.ReLU(inplace=True)
        self.norm = PooledBatchNorm(out_channels)
        self.attention = attend("decoder", out_channels)

    def forward(self, x: Tensor, skip: Tensor | None, size: Size) -> Tensor:
        """Steps up to `size`, which is the skip's where there is one."""
        x = self.upsample(self.project(x), size)  # N out/2 H W
        if skip is not None:
            x = torch.cat([x, self.project_skip(self.skip_attention(skip))], dim=1)  # N out H W
            x = self.concat_attention(x)
        return self.attention(self.norm(self.act(x)))
