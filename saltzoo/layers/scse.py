"""Concurrent spatial and channel squeeze and excitation (scSE).

Roy, Navab, Wachinger: "Concurrent Spatial and Channel Squeeze & Excitation in Fully Convolutional
Networks", arXiv 1803.02579, and "Recalibrating Fully Convolutional Networks", arXiv 1808.08127.
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from .._checks import check_choice, check_flags
from .._torch import autocast_off
from ._gates import check_map, hidden_width, mean_pixels, project_to_one
from ._scse_backward import Weights, compute_gates, merge_gates, scale_by_gates
from .norm import PooledBatchNorm

MERGES = ("add", "max")


class SCSE(nn.Module):
    """Attention that scales every value by the sum of a gate for its channel and a gate for its pixel.

    `y = x * (c + s)`. The channel gate c (N C 1 1) is computed from the global average of the map by two linear
    layers, the pixel gate s (N 1 H W) by a 1x1 convolution; both end in a sigmoid. The last layers start at zero, so
    both gates start at 0.5 and the module starts as the identity: it can be inserted into a pretrained network.

    The map is far larger than all other tensors, so reading and writing it takes most of the time. The backward pass
    is written by hand in `_scse_backward.py`. The only tensor of the map's size that it keeps is the input.

    Args:
        channels: C, at least 1.
        reduction: factor by which the channel branch narrows, to `max(1, channels // reduction)`. The paper found 2
            best; segmentation_models_pytorch uses 16.
        merge: "add" as above, or "max" for `max(x * c, x * s)` as in the authors' code, which starts as `0.5 * x`.
        norm: whether to put batch norm after both linear layers and the convolution, which then have no biases. The
            last norms start at zero, so the gates start at 0.5 as well.

    Shape:
        N C H W -> N C H W; dtype and memory format are kept.

    Raises:
        ValueError: if `channels` or `reduction` is below 1, or `merge` is unknown; from `forward`, if the input is
            not N C H W.

    Example:
        >>> import torch
        >>> x = torch.randn(2, 8, 5, 7)
        >>> torch.equal(SCSE(8)(x), x)
        True
    """

    def __init__(self, channels: int, *, reduction: int = 2, merge: str = "add", norm: bool = False) -> None:
        super().__init__()
        check_choice("merge", merge, MERGES)
        check_flags(norm=norm)
        hidden = hidden_width(channels, reduction)
        self.merge = merge
        self.norm = norm
        self.squeeze: nn.Linear = nn.Linear(channels, hidden, bias=not norm)
        self.excite: nn.Linear = nn.Linear(hidden, channels, bias=not norm)
        self.spatial: nn.Conv2d = nn.Conv2d(channels, 1, kernel_size=1, bias=not norm)
        if norm:
            self.squeeze_norm: PooledBatchNorm = PooledBatchNorm(hidden)
            self.excite_norm: PooledBatchNorm = PooledBatchNorm(channels)
            self.spatial_norm: PooledBatchNorm = PooledBatchNorm(1)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set both gates to 0.5, so that with `merge="add"` the module is the identity."""
        self.squeeze.reset_parameters()
        if self.norm:
            for layer in (self.excite, self.spatial, self.squeeze_norm, self.excite_norm, self.spatial_norm):
                layer.reset_parameters()
            nn.init.zeros_(self.excite_norm.weight)
            nn.init.zeros_(self.spatial_norm.weight)
        else:
            for parameter in (*self.excite.parameters(), *self.spatial.parameters()):
                nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        check_map(x, self.squeeze.in_features)
        if self.norm:
            channel, pixel = self._normed_gates(x)  # N C, N 1 H W
        elif self.merge == "add":
            return scale_by_gates(x, self._weights())  # N C H W
        else:
            _, _, channel, pixel = compute_gates(x, self._weights())  # N C, N 1 H W
        return merge_gates(x, channel[:, :, None, None], pixel, larger=self.merge == "max")  # N C H W

    def _weights(self) -> Weights:
        # Any: torch types the biases as optional, and without norm all layers have one.
        biases: tuple[Any, ...] = (self.squeeze.bias, self.excite.bias, self.spatial.bias)
        return Weights(self.squeeze.weight, biases[0], self.excite.weight, biases[1], self.spatial.weight, biases[2])

    def _normed_gates(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the channel gate N C and the pixel gate N 1 H W, with batch norm."""
        dtype = self.squeeze.weight.dtype
        # Autocast off: the channel branch is tiny and stays exact.
        with autocast_off(x):
            pooled = mean_pixels(x).to(dtype)  # N C
            hidden = F.relu(self.squeeze_norm(self.squeeze(pooled)))  # N C/r
            channel = self.excite_norm(self.excite(hidden)).sigmoid()  # N C
            projected = project_to_one(x, self.spatial.weight, self.spatial.bias)  # N 1 H W
            pixel = self.spatial_norm(projected.to(dtype)).sigmoid()  # N 1 H W
        return channel, pixel.to(x.dtype)

    def extra_repr(self) -> str:  # noqa: D102
        options = "" if self.merge == "add" else f", merge={self.merge!r}"
        return f"channels={self.squeeze.in_features}, hidden={self.squeeze.out_features}{options}"
