"""Convolutional block attention (CBAM).

Woo, Park, Lee, Kweon: "CBAM: Convolutional Block Attention Module", arXiv 1807.06521.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .._torch import autocast_off
from .gates import check_map, mean_pixels, narrowed
from .norm import PooledBatchNorm


class CBAM(nn.Module):
    """Scales every channel by a gate, and then every pixel by another.

    The channel's gate comes from the map's mean and maximum over pixels, each through the same two linear
    layers without biases, and summed; the pixel's from its mean and maximum over channels, by one
    convolution. Both end in a sigmoid. The convolution has a batch norm after it: the paper does not name it,
    the authors' code has it.

    Args:
        channels: C, at least 1.
        reduction: the layer between narrows to `max(1, channels // reduction)`.
        kernel_size: of the convolution, odd.

    Shape:
        N C H W in, N C H W out; dtype and memory format are kept.

    Example:
        >>> CBAM(32)(torch.randn(2, 32, 5, 7)).shape
        torch.Size([2, 32, 5, 7])
    """

    def __init__(self, channels: int, *, reduction: int = 16, kernel_size: int = 7) -> None:
        super().__init__()
        hidden = narrowed(channels, reduction)
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd, so that H and W are kept, got {kernel_size}")
        self.squeeze = nn.Linear(channels, hidden, bias=False)
        self.excite = nn.Linear(hidden, channels, bias=False)
        self.spatial = nn.Conv2d(2, 1, kernel_size, padding=kernel_size // 2, bias=False)
        self.norm = PooledBatchNorm(1)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        check_map(x, self.squeeze.in_features)
        x = x * self._channel_gate(x)[:, :, None, None].to(x.dtype)
        pooled = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], dim=1)  # N 2 H W
        gate = self.norm(self.spatial(pooled)).sigmoid()  # N 1 H W
        return x * gate.to(x.dtype)

    def _channel_gate(self, x: Tensor) -> Tensor:
        """N C H W -> N C."""
        dtype = self.squeeze.weight.dtype
        # Autocast off: the branch is tiny and stays exact.
        with autocast_off(x):
            mean = F.relu(self.squeeze(mean_pixels(x).to(dtype)))  # N C/r
            peak = F.relu(self.squeeze(x.amax((2, 3)).to(dtype)))
            # The second layer is linear and has no bias: once for the sum is the same.
            return self.excite(mean + peak).sigmoid()
