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
    # Without this check torch rounds or wraps the number: -100 would ignore the value 156 of a uint8 target.
    if limit := _limit(target.dtype, ignore_index):
        raise ValueError(
            f"ignore_index={ignore_index} cannot occur in a target of {target.dtype}, which {limit}. "
            "Give the target in a wider dtype, as in target.long(), or leave ignore_index at None."
        )
    return target != ignore_index


def _limit(dtype: torch.dtype, number: int) -> str:
    """Return why a dtype does not hold a whole number, or an empty string if it does."""
    if dtype.is_floating_point:
        info = torch.finfo(dtype)
        digits = abs(number) // (number & -number) if number else 0  # without the zeros at the end, in base 2
        return "rounds it" if digits * info.eps >= 2 or abs(number) > info.max else ""
    low, high = (0, 1) if dtype == torch.bool else (torch.iinfo(dtype).min, torch.iinfo(dtype).max)
    return "" if low <= number <= high else f"holds {low} to {high}"


def device_name(device: torch.device) -> str:
    """Return the manufacturer's name of a GPU or of the processor."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
