"""The plain head."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn


class SegmentationHead(nn.Module):
    """Logits from the last decoder map by one 3x3 convolution.

    Args:
        in_channels: channels of the last map.
        num_classes: logits for each pixel; 1 for binary masks.

    Shape:
        A list of maps, the last N in_channels H W -> N num_classes H W
    """

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, num_classes, kernel_size=3, padding=1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:  # noqa: D102
        return self.conv(maps[-1])
