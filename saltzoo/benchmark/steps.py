"""Forward passes and training steps to time, by dtype and memory layout."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..losses import DeepSupervisionLoss

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Precision:
    """How a network computes, by a name of timm's benchmark.py.

    Attributes:
        weights: dtype of weights and images.
        autocast: key of DTYPES.
    """

    weights: torch.dtype
    autocast: str

    @property
    def computed(self) -> torch.dtype:
        """Dtype of convolutions and products."""
        return self.weights if self.autocast == "fp32" else DTYPES[self.autocast]


PRECISIONS = {
    "float32": Precision(torch.float32, "fp32"),
    "bfloat16": Precision(torch.bfloat16, "fp32"),
    "float16": Precision(torch.float16, "fp32"),
    "amp_bfloat16": Precision(torch.float32, "bf16"),
    "amp": Precision(torch.float32, "fp16"),
}
"""Precisions by name; "amp" is that of float16, and "bfloat16" and "float16" are those of the weights."""

LAYOUTS = {"nchw": torch.contiguous_format, "channels_last": torch.channels_last}


def inference(model: nn.Module, images: Tensor, dtype: str) -> Callable[[], Any]:
    """Return a forward pass in evaluation mode, without gradients, under autocast unless `dtype` is "fp32"."""
    model.eval()

    @torch.inference_mode()
    def run() -> Any:
        with _autocast(images, dtype):
            return model(images)

    return run


def training(model: nn.Module, images: Tensor, masks: Tensor, dtype: str) -> Callable[[], Tensor]:
    """Return a training step: forward, binary cross-entropy of all outputs, backward, SGD. A step returns its loss.

    fp16 has no gradient scaler: the trained weights are never used.
    """
    model.train()
    # The rate is so small that the weights stay comparable, while the step costs as much as any other.
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6, momentum=0.9)
    criterion = DeepSupervisionLoss(_cross_entropy)

    def run() -> Tensor:
        optimizer.zero_grad(set_to_none=True)
        with _autocast(images, dtype):
            output = model(images)
        loss = criterion(output, masks)
        torch.autograd.backward(loss)
        optimizer.step()
        return loss.detach()

    return run


def _cross_entropy(logits: Tensor, masks: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits.float(), masks)


def _autocast(images: Tensor, dtype: str) -> torch.autocast:
    return torch.autocast(images.device.type, dtype=DTYPES[dtype], enabled=dtype != "fp32")
