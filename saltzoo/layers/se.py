"""Squeeze and excitation of channels, and of pixels.

Hu, Shen, Albanie, Sun, Wu: "Squeeze-and-Excitation Networks", arXiv 1709.01507; for pixels: Roy, Navab,
Wachinger: "Concurrent Spatial and Channel Squeeze & Excitation in Fully Convolutional Networks", arXiv 1803.02579.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from .._checks import check_counts
from .._torch import autocast_off
from ._gates import check_map, hidden_width, mean_pixels, project_to_one


class ChannelSE(nn.Module):
    """Attention that scales every channel by a gate: two linear layers and a sigmoid on the average of the map.

    Args:
        channels: C, at least 1.
        reduction: factor by which the hidden layer narrows, to `max(1, channels // reduction)`. The paper found 16 a
            good balance.

    Shape:
        N C H W -> N C H W; dtype and memory format are kept.

    Example:
        >>> import torch
        >>> ChannelSE(32)(torch.randn(2, 32, 5, 7)).shape
        torch.Size([2, 32, 5, 7])
    """

    def __init__(self, channels: int, *, reduction: int = 16) -> None:
        super().__init__()
        hidden = hidden_width(channels, reduction)
        self.squeeze: nn.Linear = nn.Linear(channels, hidden)
        self.excite: nn.Linear = nn.Linear(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        check_map(x, self.squeeze.in_features)
        # Autocast off: the branch is tiny and stays exact.
        with autocast_off(x):
            pooled = mean_pixels(x).to(self.squeeze.weight.dtype)  # N C
            hidden = F.relu(self.squeeze(pooled))  # N C/r
            gate = self.excite(hidden).sigmoid()  # N C
        return x * gate[:, :, None, None].to(x.dtype)  # N C H W


class SpatialSE(nn.Module):
    """Attention that scales every pixel by a gate: a 1x1 convolution to one channel and a sigmoid.

    Args:
        channels: C, at least 1.

    Shape:
        N C H W -> N C H W; dtype and memory format are kept.

    Example:
        >>> import torch
        >>> SpatialSE(32)(torch.randn(2, 32, 5, 7)).shape
        torch.Size([2, 32, 5, 7])
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        check_counts(channels=channels)
        self.channels = channels
        self.spatial: nn.Conv2d = nn.Conv2d(channels, 1, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        check_map(x, self.channels)
        # Autocast off: it would copy a float32 map to project it.
        with autocast_off(x):
            gate = project_to_one(x, self.spatial.weight, self.spatial.bias).sigmoid()  # N 1 H W
        return x * gate  # N C H W
