"""Autocast, ignored pixels and the name of a device."""

from __future__ import annotations

import platform
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .._checks import check_ignore_index


def autocast_off(x: Tensor) -> AbstractContextManager[Any]:
    """Return a context that switches autocast off on the device of `x`, so that float32 code stays in float32.

    On a device without autocast, such as "meta", the context does nothing.

    Example:
        >>> x = torch.ones(2, 2)
        >>> with torch.autocast("cpu", torch.bfloat16):
        ...     rounded = x @ x
        ...     with autocast_off(x):
        ...         exact = x @ x
        >>> rounded.dtype, exact.dtype
        (torch.bfloat16, torch.float32)
    """
    if x.device.type == "meta":
        return nullcontext()
    return torch.autocast(x.device.type, enabled=False)


def valid_pixels(target: Tensor, ignore_index: int | None) -> Tensor | None:
    """Return which pixels of a target count: bool in the target's shape, or None if all do.

    Raises:
        TypeError: if `ignore_index` is neither an integer nor None.
        ValueError: if `ignore_index` cannot occur in a target of this dtype.

    Example:
        >>> valid_pixels(torch.tensor([0, 255, 1], dtype=torch.uint8), 255)
        tensor([ True, False,  True])
    """
    check_ignore_index(ignore_index)
    if ignore_index is None:
        return None
    if not target.is_floating_point():
        # Without this check torch wraps the number: -100 would ignore the value 156 of a uint8 target.
        low, high = (0, 1) if target.dtype == torch.bool else _range(target.dtype)
        if not low <= ignore_index <= high:
            raise ValueError(
                f"ignore_index={ignore_index} cannot occur in a target of {target.dtype}, which holds {low} to "
                f"{high}. Give the target in a wider dtype, as in target.long(), or leave ignore_index at None."
            )
    return target != ignore_index


def _range(dtype: torch.dtype) -> tuple[int, int]:
    info = torch.iinfo(dtype)
    return info.min, info.max


def device_name(device: torch.device) -> str:
    """Return the manufacturer's name of a GPU or of the processor."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
