"""Arguments that many layers check alike."""

from __future__ import annotations


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
