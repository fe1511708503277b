"""The classifier of whole images: is there any salt?"""

from __future__ import annotations

from torch import Tensor, nn


class ClassificationHead(nn.Module):
    """One logit for each image, from the global average of the deepest map.

    Args:
        in_channels: channels of the deepest map.
        drop_rate: probability of the dropout before the linear layer.

    Shape:
        N in_channels h w -> N 1

    Example:
        >>> import torch
        >>> ClassificationHead(512)(torch.randn(2, 512, 4, 4)).shape
        torch.Size([2, 1])
    """

    def __init__(self, in_channels: int, *, drop_rate: float = 0.0) -> None:
        super().__init__()
        self.dropout: nn.Module = nn.Dropout(drop_rate) if drop_rate else nn.Identity()
        self.linear: nn.Linear = nn.Linear(in_channels, 1)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return self.linear(self.dropout(x.mean((2, 3))))
