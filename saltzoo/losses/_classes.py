"""Options with one number for each class, and the choice of some classes."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real

import torch
from torch import Tensor

from .._checks import check_class_subset


def check_weight(weight: Sequence[float] | None) -> None:
    """Raise unless `weight` is None or a list of numbers, none below 0 and one above.

    Raises:
        TypeError: if it is something else, such as a tensor.
        ValueError: if a number does not fit.
    """
    if weight is None:
        return
    check_numbers("weight", weight)
    if min(weight) < 0 or max(weight) == 0:
        raise ValueError(f"weight must hold numbers of 0 or more, and one above 0, got {weight}")


def check_numbers(name: str, numbers: Sequence[float]) -> None:
    """Raise unless `numbers` is a list of finite numbers, one or more.

    Raises:
        TypeError: if it is no list or tuple, or holds something else.
        ValueError: if it is empty, or a number is NaN or infinite.
    """
    if isinstance(numbers, str) or not isinstance(numbers, Sequence):
        raise TypeError(
            f"{name} must be a list of numbers, one for each class, got {numbers!r}: turn a tensor or an array into "
            f"{name}.tolist()"
        )
    if wrong := [number for number in numbers if not isinstance(number, Real)]:
        raise TypeError(f"{name} must hold numbers, got {wrong[0]!r}")
    if not numbers or any(number - number != 0 for number in numbers):
        raise ValueError(f"{name} must hold finite numbers, one for each class, got {numbers}")


def by_class(name: str, numbers: Sequence[float], count: int, like: Tensor) -> Tensor:
    """Return numbers as a tensor (C,) in dtype and on the device of `like`, without waiting for the device.

    Raises:
        ValueError: if there is not one number for each of the `count` classes.
    """
    if len(numbers) != count:
        raise ValueError(
            f"{name} must hold a number for each class that counts, here {count}, got {len(numbers)}: {numbers}"
        )
    # A tensor made from a list would be copied to the device, and the host would wait.
    return torch.stack([torch.full((), number, dtype=like.dtype, device=like.device) for number in numbers])


def chosen(channels: Tensor, classes: Sequence[int] | None) -> Tensor:
    """Return the channels (N, K, ...) of some classes, or all if `classes` is None.

    Raises:
        ValueError: if there is no channel of a class.
    """
    if classes is None:
        return channels
    check_class_subset(classes, channels.shape[1])
    return torch.stack([channels[:, c] for c in classes], 1)
