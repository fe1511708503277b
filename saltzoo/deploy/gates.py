"""scSE for inference: one image at a time, so that a map stays in the processor's cache between its three readings."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .._torch import is_channels_last_only
from ..layers import SCSE

_WORTH = 2**17
"""Bytes of an image's map from which on a loop over images pays: below, starting the operations takes longer."""


class CachedSCSE(SCSE):
    """An `SCSE` with `merge="add"` and without norm, for inference.

    Maps that are small, contiguous, on another device than a CPU, or part of a compiled graph are computed as in SCSE.

    Shape:
        N C H W -> N C H W
    """

    @classmethod
    def take_over(cls, attention: SCSE) -> None:
        """Make a module one of this class, in place: hooks of an encoder hold the module itself, and not its name."""
        attention.__class__ = cls

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        if torch.compiler.is_compiling() or not _pays(x):
            return super().forward(x)
        result = torch.empty_like(x)
        for one, scaled in zip(_rows(x), _rows(result), strict=True):  # HW C
            self._scale(one, scaled)
        return result

    def _scale(self, x: Tensor, out: Tensor) -> None:
        """Write the scaled map of an image HW C to `out`."""
        exact = torch.promote_types(x.dtype, torch.float32)
        pooled = (x.sum(0, dtype=exact) / len(x)).to(x.dtype)  # C
        channel = self.excite(F.relu(self.squeeze(pooled))).sigmoid_()  # C
        pixel = F.linear(x, self.spatial.weight.flatten(1), self.spatial.bias).sigmoid_()  # HW 1
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
