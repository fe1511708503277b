"""scSE for inference: one image at a time, so that a map stays in the processor's cache between its three readings."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .._torch import is_channels_last_only
from ..layers import SCSE

_WORTH = 2**17
"""Bytes of an image's map from which on a loop over images pays: below, starting the operations takes longer."""


class CachedSCSE(nn.Module):
    """The same as an `SCSE` with `merge="add"` and without norm, for inference.

    Maps that are small, contiguous, on another device than a CPU, or part of a compiled graph are given to the SCSE.

    Args:
        attention: module whose parameters it shares.

    Shape:
        N C H W -> N C H W
    """

    def __init__(self, attention: SCSE) -> None:
        super().__init__()
        self.attention = attention

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        if torch.compiler.is_compiling() or not _pays(x):
            return self.attention(x)
        result = torch.empty_like(x)
        for one, scaled in zip(_rows(x), _rows(result), strict=True):  # HW C
            self._scale(one, scaled)
        return result

    def _scale(self, x: Tensor, out: Tensor) -> None:
        squeeze, excite, spatial = self.attention.squeeze, self.attention.excite, self.attention.spatial
        pooled = (x.sum(0, dtype=torch.float32) / len(x)).to(squeeze.weight.dtype)  # C
        channel = excite(F.relu(squeeze(pooled))).sigmoid_().to(x.dtype)  # C
        pixel = F.linear(x, spatial.weight.flatten(1), spatial.bias).sigmoid_()  # HW 1
        torch.mul(x, channel + pixel, out=out)


def is_plain(attention: nn.Module) -> bool:
    """Return whether a module is an SCSE that `CachedSCSE` can replace."""
    return type(attention) is SCSE and attention.merge == "add" and not attention.norm


def _pays(x: Tensor) -> bool:
    large = x.element_size() * x[:1].numel() >= _WORTH
    return x.device.type == "cpu" and large and not x.requires_grad and is_channels_last_only(x)


def _rows(x: Tensor) -> Tensor:
    """N C H W in channels_last -> N HW C, a view."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)
