"""Decoder blocks of a U-Net: a coarse map is upsampled and combined with the encoder's map of the next size.

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
    """Decoder block: upsample to the size of the skip, concatenate, two 3x3 convolutions.

    Args:
        in_channels: channels of the coarser map.
        skip_channels: channels of the encoder's map; 0 without a skip.
        out_channels: channels out.
        upsample: "nearest", "bilinear", or "deconv" (to `out_channels`) as in the paper.
        attention: "none" or a name in `saltzoo.layers.ATTENTIONS`.
        attention_sites: sites that get attention: some of "skip" (the encoder's map), "concat" (the concatenated map)
            and "decoder" (the output). Without a skip there is only the last.
        attention_reduction: factor by which the channel branch of the attention narrows; None for its default.

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
        self.upsample: Upsample = Upsample(in_channels, out_channels, mode=upsample)
        joined = self.upsample.out_channels + skip_channels
        self.skip_attention: nn.Module = attend("skip", skip_channels)
        # Without a skip nothing is concatenated, and attention here would repeat that of the block below.
        self.concat_attention: nn.Module = attend("concat", joined if skip_channels else 0)
        self.conv1: ConvNormAct = ConvNormAct(joined, out_channels)
        self.conv2: ConvNormAct = ConvNormAct(out_channels, out_channels)
        self.attention: nn.Module = attend("decoder", out_channels)

    def forward(self, x: Tensor, skip: Tensor | None, size: Size) -> Tensor:
        """Return the map at `size`, which is the size of the skip if there is one."""
        x = self.upsample(x, size)  # N in H W, or N out H W with "deconv"
        if skip is not None:
            x = torch.cat([x, self.skip_attention(skip)], dim=1)  # N joined H W
            x = self.concat_attention(x)
        x = self.conv1(x)  # N out H W
        x = self.conv2(x)  # N out H W
        return self.attention(x)


class HalfUnetBlock(nn.Module):
    """Decoder block that takes half of its output from the upsampled map and half from the skip.

    The upsampled map is a deconvolution, the other half a 1x1 convolution of the skip; both are concatenated, then
    ReLU and batch norm. It needs far fewer multiplications than UnetBlock, because no 3x3 convolution reads the
    concatenated map. Two solutions of the TGS Salt challenge use it.

    Args:
        in_channels: channels of the coarser map.
        skip_channels: channels of the encoder's map; with 0 the upsampled map is the whole output.
        out_channels: channels out, at least 2.
        upsample: "deconv", or "nearest" or "bilinear" after a 1x1 convolution.
        attention: "none" or a name in `saltzoo.layers.ATTENTIONS`.
        attention_sites: sites that get attention: some of "skip", "concat" and "decoder", as in UnetBlock.
        attention_reduction: factor by which the channel branch of the attention narrows; None for its default.

    Shape:
        N in_channels h w and N skip_channels H W (or None) -> N out_channels H W

    Raises:
        ValueError: if `out_channels` is below 2.

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
            raise ValueError(f"out_channels must be at least 2, one for each half, got {out_channels}")
        attend = partial(build_attention_at, name=attention, sites=attention_sites, reduction=attention_reduction)
        from_skip = out_channels // 2 if skip_channels else 0
        from_below = out_channels - from_skip
        self.project: nn.Module = (
            nn.Identity() if upsample == "deconv" else nn.Conv2d(in_channels, from_below, kernel_size=1)
        )
        self.upsample: Upsample = Upsample(in_channels, from_below, mode=upsample)
        self.skip_attention: nn.Module = attend("skip", skip_channels)
        self.project_skip: nn.Module = (
            nn.Conv2d(skip_channels, from_skip, kernel_size=1) if skip_channels else nn.Identity()
        )
        self.concat_attention: nn.Module = attend("concat", out_channels if skip_channels else 0)
        self.act: nn.ReLU = nn.ReLU(inplace=True)
        self.norm: PooledBatchNorm = PooledBatchNorm(out_channels)
        self.attention: nn.Module = attend("decoder", out_channels)

    def forward(self, x: Tensor, skip: Tensor | None, size: Size) -> Tensor:
        """Return the map at `size`, which is the size of the skip if there is one."""
        x = self.upsample(self.project(x), size)  # N out/2 H W, or N out H W without a skip
        if skip is not None:
            skip = self.project_skip(self.skip_attention(skip))  # N out/2 H W
            x = self.concat_attention(torch.cat([x, skip], dim=1))  # N out H W
        x = self.norm(self.act(x))  # N out H W
        return self.attention(x)
