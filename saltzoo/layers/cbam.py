"""Convolutional block attention (CBAM).

Woo, Park, Lee, Kweon: "CBAM: Convolutional Block Attention Module", arXiv 1807.06521.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .._checks import check_odd
from .._torch import autocast_off
from ._gates import check_map, hidden_width, mean_pixels
from .norm import PooledBatchNorm


class CBAM(nn.Module):
    """Attention that scales every channel by a gate, then every pixel of the result by a second gate.

    The channel gate is computed from the mean and the maximum of the map over pixels: both pass through the same two
    linear layers without biases and are added. The pixel gate is one convolution with batch norm of the mean and the
    maximum over channels. Both gates end in a sigmoid. The paper does not mention the batch norm; the authors' code
    has it.

    Args:
        channels: C, at least 1.
        reduction: factor by which the hidden layer narrows, to `max(1, channels // reduction)`.
        kernel_size: kernel size of the convolution, odd.

    Shape:
        N C H W -> N C H W; dtype and memory format are kept.

    Example:
        >>> CBAM(32)(torch.randn(2, 32, 5, 7)).shape
        torch.Size([2, 32, 5, 7])
    """

    def __init__(self, channels: int, *, reduction: int = 16, kernel_size: int = 7) -> None:
        super().__init__()
        hidden = hidden_width(channels, reduction)
        check_odd(kernel_size=kernel_size)
        self.squeeze: nn.Linear = nn.Linear(channels, hidden, bias=False)
        self.excite: nn.Linear = nn.Linear(hidden, channels, bias=False)
        self.spatial: nn.Conv2d = nn.Conv2d(2, 1, kernel_size, padding=kernel_size // 2, bias=False)
        self.norm: PooledBatchNorm = PooledBatchNorm(1)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        check_map(x, self.squeeze.in_features)
        x = x * self._channel_gate(x)[:, :, None, None].to(x.dtype)  # N C H W
        pooled = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], dim=1)  # N 2 H W
        gate = self.norm(self.spatial(pooled)).sigmoid()  # N 1 H W
        return x * gate.to(x.dtype)  # N C H W

    def _channel_gate(self, x: Tensor) -> Tensor:
        """Return the channel gate N C of a map N C H W."""
        dtype = self.squeeze.weight.dtype
        # Autocast off: the branch is tiny and stays exact.
        with autocast_off(x):
            mean = F.relu(self.squeeze(mean_pixels(x).to(dtype)))  # N C/r
            peak = F.relu(self.squeeze(x.amax((2, 3)).to(dtype)))  # N C/r
            # `excite` is linear without a bias: applying it once to the sum equals adding two results.
            return self.excite(mean + peak).sigmoid()  # N C
