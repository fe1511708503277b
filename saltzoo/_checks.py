"""Checks of arguments that many files share, with one wording each. Standard library only."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Sequence
from numbers import Real


def check_counts(**counts: int | Sequence[int]) -> None:
    """Raise ValueError if any count is below 1, or a sequence of counts is empty or holds one below 1.

    A count that is no whole number raises TypeError.

    Example:
        >>> check_counts(in_channels=8, stride=0)
        Traceback (most recent call last):
        ...
        ValueError: stride must be at least 1, got 0
    """
    for name, count in counts.items():
        values = tuple(count) if isinstance(count, Sequence) else (count,)
        for value in values:
            if isinstance(value, float | bool | str | None):
                raise TypeError(f"{name} must be a whole number of at least 1, got {count!r}")
        if not values:
            raise ValueError(f"{name} must hold one or more counts, got {count!r}")
        if min(values) < 1:
            raise ValueError(f"{name} must be at least 1, got {values if isinstance(count, Sequence) else count}")


def check_odd(**sizes: int) -> None:
    """Raise ValueError if any kernel size is not a positive odd number, which padding can centre.

    Example:
        >>> check_odd(kernel_size=4)
        Traceback (most recent call last):
        ...
        ValueError: kernel_size must be odd, so that H and W are kept, got 4
    """
    for name, size in sizes.items():
        if size < 1 or size % 2 == 0:
            raise ValueError(f"{name} must be odd, so that H and W are kept, got {size}")


def check_choice(name: str, value: object, choices: Iterable[object]) -> None:
    """Raise ValueError if `value` is not one of `choices`.

    Example:
        >>> check_choice("reduction", "avg", ("mean", "sum"))
        Traceback (most recent call last):
        ...
        ValueError: unknown reduction 'avg': choose one of 'mean', 'sum'
    """
    known = list(choices)
    if value not in known:
        raise ValueError(f"unknown {name} {value!r}: choose one of {', '.join(map(repr, known))}")


def check_flags(**flags: bool) -> None:
    """Raise TypeError if any value is not True or False: Python takes any word, "no" too, for true.

    Example:
        >>> check_flags(pretrained="no")
        Traceback (most recent call last):
        ...
        TypeError: pretrained must be True or False, got 'no'
    """
    for name, flag in flags.items():
        if not isinstance(flag, bool):
            raise TypeError(f"{name} must be True or False, got {flag!r}")


def check_finite(**numbers: float) -> None:
    """Raise TypeError if anything is not a number, and ValueError if a number is NaN or infinite.

    Example:
        >>> check_finite(gamma=float("nan"))
        Traceback (most recent call last):
        ...
        ValueError: gamma must be a finite number, got nan
    """
    for name, number in numbers.items():
        if not isinstance(number, Real):
            raise TypeError(f"{name} must be a number, got {number!r}")
        if not math.isfinite(number):
            raise ValueError(f"{name} must be a finite number, got {number}")


def check_ranges(**ranges: tuple[float, float]) -> None:
    """Raise ValueError if any range (low, high) is not in order or not finite.

    Example:
        >>> check_ranges(contrast=(1.1, 0.9))
        Traceback (most recent call last):
        ...
        ValueError: contrast must be a range (low, high) with low <= high, finite, got (1.1, 0.9)
    """
    for name, (low, high) in ranges.items():
        if not -math.inf < low <= high < math.inf:
            raise ValueError(f"{name} must be a range (low, high) with low <= high, finite, got {(low, high)}")


def check_fraction(**fractions: float) -> None:
    """Raise ValueError unless 0 <= fraction < 1.

    Example:
        >>> check_fraction(drop_rate=1.0)
        Traceback (most recent call last):
        ...
        ValueError: drop_rate must be at least 0 and below 1, got 1.0
    """
    for name, fraction in fractions.items():
        if not 0 <= fraction < 1:
            raise ValueError(f"{name} must be at least 0 and below 1, got {fraction}")


def check_ignore_index(ignore_index: int | None) -> None:
    """Raise TypeError unless `ignore_index` is a whole number or None.

    Example:
        >>> check_ignore_index(0.5)
        Traceback (most recent call last):
        ...
        TypeError: ignore_index must be a whole number or None, got 0.5
    """
    if ignore_index is not None and not isinstance(ignore_index, int):
        raise TypeError(f"ignore_index must be a whole number or None, got {ignore_index!r}")


def check_class_subset(classes: Sequence[int] | None, count: int | None = None) -> None:
    """Raise unless `classes` is None or a list of different classes, 0 to `count` - 1.

    Example:
        >>> check_class_subset([1, 3], 3)
        Traceback (most recent call last):
        ...
        ValueError: classes must be different numbers from 0 to 2, one or more, got [1, 3]
    """
    if classes is None:
        return
    if isinstance(classes, str) or not isinstance(classes, Sequence):
        raise TypeError(f"classes must be a list of whole numbers, such as [1, 2], or None, got {classes!r}")
    if wrong := [c for c in classes if not isinstance(c, int) or isinstance(c, bool)]:
        raise TypeError(f"classes must hold whole numbers, got {wrong[0]!r}")
    if not classes or len(set(classes)) < len(classes) or min(classes) < 0 or max(classes) >= (count or math.inf):
        upper = "up" if count is None else f"to {count - 1}"
        raise ValueError(f"classes must be different numbers from 0 {upper}, one or more, got {classes}")


def closest(word: str, known: Iterable[str], *, otherwise: str = "") -> str:
    """Return a hint that names the words most like an unknown one, or `otherwise` if none is close.

    Example:
        >>> closest("unet_resnet43", ["unet_resnet34", "frrn_a"])
        "Did you mean 'unet_resnet34'?"
    """
    close = difflib.get_close_matches(word, sorted(known), n=3, cutoff=0.5)
    return f"Did you mean {' or '.join(map(repr, close))}?" if close else otherwise
