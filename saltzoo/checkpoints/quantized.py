"""Weights in 8 bits: each filter as integers of -127 to 127 and a scale.

Round-to-nearest, symmetric, one scale for each index of the first axis. Only storage is in 8 bits: what is read is
float32 again.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

_SCALE = "@scale"
"""End of the keys that hold scales. Parameters are attributes, whose names have no @."""

_STEPS = 127

_FEWEST = 64
"""Values of a filter from which on it is stored in 8 bits. Depthwise filters and norms are small, and lose more."""


def quantized(key: str, value: Tensor) -> dict[str, Tensor] | None:
    """Return a parameter as the tensors that store it in 8 bits, or None if it is too small for that.

    Args:
        key: name of the parameter.
        value: floating point, any shape, finite.

    Example:
        >>> stored = quantized("conv.weight", torch.randn(8, 16, 3, 3))
        >>> {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in stored.items()}
        {'conv.weight': (torch.int8, (8, 16, 3, 3)), 'conv.weight@scale': (torch.float32, (8,))}
    """
    if value.ndim < 2 or value.shape[1:].numel() < _FEWEST or not len(value) or not value.isfinite().all():
        return None
    rows = value.float().flatten(1)
    scale = rows.abs().amax(1) / _STEPS
    steps = rows / scale.clamp_min(torch.finfo(torch.float32).tiny)[:, None]
    return {key: steps.round().to(torch.int8).view(value.shape), key + _SCALE: scale}


def dequantized(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return stored tensors with float32 values in place of integers and scales.

    Raises:
        ValueError: if integers and scales do not fit each other.
    """
    restored = {key: value for key, value in tensors.items() if not key.endswith(_SCALE)}
    for key, scale in tensors.items():
        if not key.endswith(_SCALE):
            continue
        name = key.removesuffix(_SCALE)
        steps = tensors.get(name)
        if steps is None or steps.dtype != torch.int8 or scale.shape != steps.shape[:1]:
            found = "missing" if steps is None else f"{steps.dtype} {tuple(steps.shape)}"
            raise ValueError(f"{key} holds {tuple(scale.shape)} scales of 8-bit weights, but {name} is {found}")
        restored[name] = (steps.float().flatten(1) * scale.float()[:, None]).view(steps.shape)
    return restored
