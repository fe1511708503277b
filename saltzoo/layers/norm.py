"""Batch norm that accepts maps of a single pixel.

Ioffe, Szegedy: "Batch Normalization: Accelerating Deep Network Training by Reducing Internal Covariate
Shift", arXiv 1502.03167.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class PooledBatchNorm(nn.BatchNorm2d):
    """Batch norm that also trains on one value for each channel, as in the pooled map of a single image.

    One value has no variance, and torch raises an error in training. This layer normalises it by the running
    statistics, as in evaluation, and does not update them. Otherwise it equals `nn.BatchNorm2d`, including its state
    dict.

    Sizes are compared in training only, so that a graph with free sizes can be exported in evaluation mode. In
    training `torch.compile` guards the branch and recompiles for a single value.

    Args:
        num_features: C; the other arguments are those of `nn.BatchNorm2d`.

    Shape:
        N C or N C H W -> the same shape

    Raises:
        ValueError: from `forward`, if the input has another shape.

    Example:
        >>> import torch
        >>> PooledBatchNorm(8).train()(torch.randn(1, 8)).shape
        torch.Size([1, 8])
    """

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        self._check_input_dim(x)
        if self.training and self.track_running_stats and x.numel() == self.num_features:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(x)

    def _check_input_dim(self, x: Tensor) -> None:
        if x.ndim not in (2, 4) or x.shape[1] != self.num_features:
            raise ValueError(f"expected N {self.num_features} or N {self.num_features} H W, got {tuple(x.shape)}")
