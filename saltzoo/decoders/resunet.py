"""One step up a pre-activation residual U-Net.

Zhang, Liu, Wang: "Road Extraction by Deep Residual U-Net", arXiv 1711.10684.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..contracts import Size
from ..layers import PreActStage


class ResUnetBlock(nn.Module):
    """A deconvolution that reaches the skip's size exactly, concatenation, dropout, a stage of residuals.

    For a map of h rows the deconvolution (3x3, stride 2) makes 2h + 1. A skip that was max-pooled to h rows has
    2h + 1 or 2h: the last row is cropped, which is what "same" padding does in other frameworks.

    Args:
        in_channels: channels of the coarser map.
        skip_channels: channels of the encoder's map, 0 where there is none.
        out_channels: channels out.
        drop_rate: of the dropout on the concatenated map.

    Shape:
        N in_channels h w and N skip_channels H W (or None) -> N out_channels H W, H at most 2h + 1, W 2w + 1

    Example:
        >>> x, skip = torch.randn(2, 64, 6, 25), torch.randn(2, 32, 12, 51)
        >>> ResUnetBlock(64, 32, 16)(x, skip, skip.shape[-2:]).shape
        torch.Size([2, 16, 12, 51])
    """

    def __init__(self, in_channels: int, skip_channels: int, out_channels: int, *, drop_rate: float = 0.0) -> None:
        super().__init__()
        self.upsample = nn.ConvTranspose2d(in_channels, out_channels, kernel_size=3, stride=2)
        self.dropout = nn.Dropout(drop_rate, inplace=True)
        self.stage = PreActStage(out_channels + skip_channels, out_channels, bias=True)

    def forward(self, x: Tensor, skip: Tensor | None, size: Size) -> Tensor:
        """Steps up to `size`, which is the skip's where there is one."""
        x = self.upsample(x)  # N out 2h+1 2w+1
        # A negative padding and not a slice: torch.export can't prove that a slice of free sizes lies inside.
        x = F.pad(x, (0, size[1] - x.shape[3], 0, size[0] - x.shape[2]))  # N out H W
        if skip is not None:
            x = torch.cat([x, skip], dim=1)  # N out+skip H W
        return self.stage(self.dropout(x))  # N out H W
