"""The hypercolumn head: logits of a pixel from all decoder maps at that pixel.

Hariharan, Arbeláez, Girshick, Malik: "Hypercolumns for Object Segmentation and Fine-grained Localization",
arXiv 1411.5752.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .._checks import check_flags
from .._torch import memory_layout
from ..contracts import Size
from ..layers import ConvNormAct
from .segmentation import SegmentationHead


class HypercolumnHead(nn.Module):
    """Resizes all decoder maps to the size of the last, concatenates them, and makes logits from the columns.

    Args:
        channels: channels of the decoder's maps, coarsest first.
        num_classes: logits for each pixel.
        reduced: channels to which a 1x1 convolution, batch norm and ReLU narrow each map before it is resized, which
            makes the head many times cheaper. None concatenates the maps as they are.
        hidden: channels between the column and the logits.
        reads_image: whether to add the image classifier's logit to the column as one more channel, the same at every
            pixel.
        drop_rate: as in SegmentationHead.
        scale: as in SegmentationHead.

    Raises:
        ValueError: from `forward`, if the image's logit is to be read and is not given.

    Shape:
        A list of maps N channels[i] h w, (H, W), and N 1 if the image's logit is read -> N num_classes H W

    Example:
        >>> maps = [torch.randn(2, 64, 13, 13), torch.randn(2, 32, 26, 26)]
        >>> HypercolumnHead((64, 32), 1, reduced=16)(maps, (26, 26)).shape
        torch.Size([2, 1, 26, 26])
    """

    def __init__(
        self,
        channels: Sequence[int],
        num_classes: int,
        *,
        reduced: int | None = None,
        hidden: int = 32,
        reads_image: bool = False,
        drop_rate: float = 0.0,
        scale: int = 1,
    ) -> None:
        super().__init__()
        check_flags(reads_image=reads_image)
        self.reads_image = reads_image
        self.reduce: nn.ModuleList = nn.ModuleList(
            ConvNormAct(count, reduced, kernel_size=1) if reduced else nn.Identity() for count in channels
        )
        column = (reduced * len(channels) if reduced else sum(channels)) + reads_image
        self.mix: ConvNormAct = ConvNormAct(column, hidden)
        self.classify: SegmentationHead = SegmentationHead(
            hidden, num_classes, kernel_size=1, drop_rate=drop_rate, scale=scale
        )

    def forward(self, maps: Sequence[Tensor], size: Size, image: Tensor | None = None) -> Tensor:  # noqa: D102
        *coarse, finest = [reduce(x) for reduce, x in zip(self.reduce, maps, strict=True)]
        height, width = finest.shape[-2:]
        columns = [F.interpolate(x, size=(height, width), mode="bilinear", align_corners=False) for x in coarse]
        columns.append(finest)
        if self.reads_image:
            if image is None:
                raise ValueError("this head was built with reads_image=True: give it the image's logit, N 1")
            # In the layout of the other maps: torch.cat keeps channels_last only if all its parts have it.
            salt = image.to(finest.dtype)[:, :, None, None].expand(-1, -1, height, width)  # N 1 H W
            columns.append(salt.contiguous(memory_format=memory_layout(finest)))
        column = torch.cat(columns, dim=1)  # N sum H W
        return self.classify([self.mix(column)], size)
