"""Checks of arguments that many files share, with one wording each. Standard library only."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable


def check_counts(**counts: int) -> None:
    """Raise ValueError if any count is below 1.

    Example:
        >>> check_counts(in_channels=8, stride=0)
        Traceback (most recent call last):
        ...
        ValueError: stride must be at least 1, got 0
    """
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"{name} must be at least 1, got {count}")


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


def check_finite(**numbers: float) -> None:
    """Raise ValueError if any number is NaN or infinite.

    Example:
        >>> check_finite(gamma=float("nan"))
        Traceback (most recent call last):
        ...
        ValueError: gamma must be a finite number, got nan
    """
    for name, number in numbers.items():
        if not math.isfinite(number):
            raise ValueError(f"{name} must be a finite number, got {number}")


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


def closest(word: str, known: Iterable[str], *, otherwise: str = "") -> str:
    """Return a hint that names the words most like an unknown one, or `otherwise` if none is close.

    Example:
        >>> closest("unet_resnet43", ["unet_resnet34", "frrn_a"])
        "Did you mean 'unet_resnet34'?"
    """
    close = difflib.get_close_matches(word, sorted(known), n=3, cutoff=0.5)
    return f"Did you mean {' or '.join(map(repr, close))}?" if close else otherwise
