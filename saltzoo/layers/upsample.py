"""Upsampling to the size of another map, in the three modes that decoders use."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from .._checks import check_choice
from ..contracts import Size

UPSAMPLES = ("nearest", "bilinear", "deconv")


class Upsample(nn.Module):
    """Upsampling to a given size and not by a factor, so that odd sizes and unpadded convolutions fit exactly.

    Args:
        in_channels: channels in.
        out_channels: channels out with "deconv"; the other modes keep `in_channels`.
        mode: "nearest"; "bilinear" (`align_corners=False`); or "deconv": a transposed 2x2 convolution of stride 2,
            whose result is resized to the exact size by nearest neighbours.

    Attributes:
        out_channels: channels out.

    Shape:
        N in_channels h w -> N out_channels H W

    Raises:
        ValueError: if the mode is unknown.

    Example:
        >>> import torch
        >>> Upsample(8, 4, mode="deconv")(torch.randn(2, 8, 13, 13), (25, 25)).shape
        torch.Size([2, 4, 25, 25])
    """

    def __init__(self, in_channels: int, out_channels: int, *, mode: str = "nearest") -> None:
        super().__init__()
        check_choice("upsample", mode, UPSAMPLES)
        self.mode = mode
        self.deconv: nn.ConvTranspose2d | None = (
            nn.ConvTranspose2d(in_channels, out_channels, 2, stride=2) if mode == "deconv" else None
        )
        self.out_channels: int = out_channels if mode == "deconv" else in_channels

    def forward(self, x: Tensor, size: Size) -> Tensor:  # noqa: D102
        if self.mode == "bilinear":
            return F.interpolate(x, size=size, mode="bilinear", align_corners=False)  # N in H W
        if self.deconv is not None:
            x = self.deconv(x)  # N out 2h 2w
        return F.interpolate(x, size=size, mode="nearest")  # N out H W

    def extra_repr(self) -> str:  # noqa: D102
        return f"mode={self.mode!r}"
