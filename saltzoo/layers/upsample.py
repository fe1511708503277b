"""A map brought to the size of another, in one of the three ways that decoders use."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from ..contracts import Size

UPSAMPLES = ("nearest", "bilinear", "deconv")


class Upsample(nn.Module):
    """Resizes to a size that is given, not by a factor: odd sizes and valid padding meet exactly.

    Args:
        in_channels: channels in.
        out_channels: channels that "deconv" puts out; the other modes keep what comes in.
        mode: "nearest", "bilinear" (`align_corners=False`), or "deconv": a transposed 2x2 convolution of stride 2,
            whose result is then brought to the exact size by nearest neighbours.

    Attributes:
        out_channels: channels out.

    Shape:
        N in_channels h w -> N out_channels H W

    Example:
        >>> import torch
        >>> Upsample(8, 4, mode="deconv")(torch.randn(2, 8, 13, 13), (25, 25)).shape
        torch.Size([2, 4, 25, 25])
    """

    def __init__(self, in_channels: int, out_channels: int, *, mode: str = "nearest") -> None:
        super().__init__()
        if mode not in UPSAMPLES:
            raise ValueError(f"unknown upsample {mode!r}: choose one of {list(UPSAMPLES)}")
        self.mode = mode
        self.deconv = nn.ConvTranspose2d(in_channels, out_channels, 2, stride=2) if mode == "deconv" else None
        self.out_channels = out_channels if mode == "deconv" else in_channels

    def forward(self, x: Tensor, size: Size) -> Tensor:  # noqa: D102
        if self.mode == "bilinear":
            return F.interpolate(x, size=size, mode="bilinear", align_corners=False)
        if self.deconv is not None:
            x = self.deconv(x)  # N out 2h 2w
        return F.interpolate(x, size=size, mode="nearest")

    def extra_repr(self) -> str:  # noqa: D102
        return f"mode={self.mode!r}"
