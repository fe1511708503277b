"""Arguments that layers, losses and metrics check alike."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def check_counts(**counts: int) -> None:
    """Refuses numbers of channels, units, strides, ... that are none.

    Raises:
        ValueError: if one is below 1.

    Example:
        >>> check_counts(in_channels=8, stride=0)
        Traceback (most recent call last):
        ...
        ValueError: stride must be at least 1, got 0
    """
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"{name} must be at least 1, got {count}")


def check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    """Refuses a word that an option does not know.

    Raises:
        ValueError: if `value` is not one of `choices`.

    Example:
        >>> check_choice("reduction", "avg", ("mean", "sum"))
        Traceback (most recent call last):
        ...
        ValueError: reduction='avg' is not known. Give one of: 'mean', 'sum'.
    """
    if value not in choices:
        raise ValueError(f"{name}={value!r} is not known. Give one of: {', '.join(map(repr, choices))}.")


def check_finite(**numbers: float) -> None:
    """Refuses weights, factors, ... that are NaN or infinite.

    Raises:
        ValueError: if one is.

    Example:
        >>> check_finite(gamma=float("nan"))
        Traceback (most recent call last):
        ...
        ValueError: gamma must be a finite number, got nan
    """
    for name, number in numbers.items():
        if not math.isfinite(number):
            raise ValueError(f"{name} must be a finite number, got {number}")


def valid_pixels(target: Tensor, ignore_index: int | None) -> Tensor | None:
    """Which values of a target count: bool of its shape; None where all do, as no value is ignored.

    Raises:
        TypeError: if `ignore_index` is no whole number.
        ValueError: if it can't occur in a target of this dtype.

    Example:
        >>> valid_pixels(torch.tensor([0, 255, 1], dtype=torch.uint8), 255)
        tensor([ True, False,  True])
    """
    if ignore_index is None:
        return None
    if not isinstance(ignore_index, int):
        raise TypeError(f"ignore_index must be a whole number or None, got {ignore_index!r}")
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
