"""Batch norm for maps that may be a single pixel.

Ioffe, Szegedy: "Batch Normalization: Accelerating Deep Network Training by Reducing Internal Covariate
Shift", arXiv 1502.03167.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class PooledBatchNorm(nn.BatchNorm2d):
    """Batch norm that also trains on one value a channel, as one image's pooled map is.

    One value has no variance, and torch refuses it in training. Here the running statistics normalise it, as in
    evaluation, and are left as they are. Everything else is `nn.BatchNorm2d`, its state dict too.

    The sizes are looked at in training only: in evaluation a graph with free sizes has no branch on them and
    can be exported. In training `torch.compile` guards the branch, and compiles anew for a single value.

    Args:
        num_features: C; the other arguments are those of `nn.BatchNorm2d`.

    Shape:
        N C or N C H W in, the same out.

    Raises:
        ValueError: if the input is neither.

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
