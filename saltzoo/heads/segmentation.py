"""The plain head: logits from the last decoder map."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..contracts import Size


class SegmentationHead(nn.Module):
    """One convolution from the last decoder map to logits.

    Args:
        in_channels: channels of the last map.
        num_classes: logits for each pixel; 1 for binary masks.
        kernel_size: side of the convolution's kernel, odd.
        drop_rate: probability with which whole channels are dropped in training.
        scale: factor by which the last map is smaller than the image, sizes rounded up. The convolution then makes
            `scale**2` logits for each pixel of the map, which pixel shuffle (arXiv 1609.05158) sets beside each other;
            the result is cropped to the image.

    Raises:
        ValueError: if the kernel size is even.

    Shape:
        A list of maps, the last N in_channels H/scale W/scale, and (H, W) -> N num_classes H W

    Example:
        >>> import torch
        >>> SegmentationHead(16, 1, scale=2)([torch.randn(2, 16, 51, 51)], (101, 101)).shape
        torch.Size([2, 1, 101, 101])
    """

    reads_image = False
    """Whether `forward` uses the classifier's logit."""

    def __init__(
        self, in_channels: int, num_classes: int, *, kernel_size: int = 3, drop_rate: float = 0.0, scale: int = 1
    ) -> None:
        super().__init__()
        if kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd, so that H and W are kept, got {kernel_size}")
        self.scale = scale
        self.dropout: nn.Module = nn.Dropout2d(drop_rate) if drop_rate else nn.Identity()
        self.conv: nn.Conv2d = nn.Conv2d(in_channels, num_classes * scale**2, kernel_size, padding=kernel_size // 2)

    def forward(self, maps: Sequence[Tensor], size: Size, image: Tensor | None = None) -> Tensor:  # noqa: D102
        logits = self.conv(self.dropout(maps[-1]))  # N classes*scale**2 H/scale W/scale
        if self.scale == 1:
            return logits
        logits = _pixel_shuffle(logits, self.scale)
        # A crop by negative padding: torch.export cannot prove that a slice of a free size lies inside the map.
        return F.pad(logits, (0, size[1] - logits.shape[3], 0, size[0] - logits.shape[2]))  # N classes H W


def _pixel_shuffle(x: Tensor, scale: int) -> Tensor:
    """Return `F.pixel_shuffle` of a map, whose backward pass fails in torch if there are no images."""
    if torch.compiler.is_compiling() or x.shape[0]:
        return F.pixel_shuffle(x, scale)
    return x.reshape(0, x.shape[1] // scale**2, x.shape[2] * scale, x.shape[3] * scale)
