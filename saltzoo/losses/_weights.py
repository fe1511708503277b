"""Weights of the terms of a loss, which are checked whenever they are set."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableSequence, Sequence
from typing import Any, overload

from .._checks import check_finite


class Weights(MutableSequence[float]):
    """List of finite numbers that may be changed, but whose length may not.

    Args:
        name: name of the option, for error messages.
        numbers: one number for each term.

    Raises:
        TypeError: if `numbers` is no list or tuple, or holds something else than numbers.
        ValueError: if a number is NaN or infinite. The same errors come when a number is set.

    Example:
        >>> weights = Weights("weights", [1.0, 0.5])
        >>> weights[:] = [0.2, 0.8]
        >>> weights
        [0.2, 0.8]
        >>> weights[1] = float("nan")
        Traceback (most recent call last):
        ...
        ValueError: weights[1] must be a finite number, got nan
    """

    def __init__(self, name: str, numbers: Sequence[float]) -> None:
        self._name = name
        self._numbers = _checked(name, numbers)

    @overload
    def __getitem__(self, index: int) -> float: ...
    @overload
    def __getitem__(self, index: slice) -> list[float]: ...
    def __getitem__(self, index: int | slice) -> float | list[float]:
        return self._numbers[index]

    @overload
    def __setitem__(self, index: int, value: float) -> None: ...
    @overload
    def __setitem__(self, index: slice, value: Iterable[float]) -> None: ...
    def __setitem__(self, index: Any, value: Any) -> None:
        numbers = self._numbers.copy()
        numbers[index] = _checked(self._name, value) if isinstance(index, slice) else value
        if len(numbers) != len(self):
            raise self._fixed(f"{len(numbers)} numbers")
        self._numbers = _checked(self._name, numbers)

    def __delitem__(self, index: int | slice) -> None:
        raise self._fixed("fewer")

    def insert(self, index: int, value: float) -> None:
        """Raise ValueError, as all changes of the length do."""
        raise self._fixed("more")

    def __len__(self) -> int:
        return len(self._numbers)

    def __iter__(self) -> Iterator[float]:
        return iter(self._numbers)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and self._numbers == list(other)

    def __repr__(self) -> str:
        return repr(self._numbers)

    def _fixed(self, given: str) -> ValueError:
        return ValueError(
            f"{self._name} must stay {len(self)} numbers, one for each term, got {given}: build another loss"
        )


def _checked(name: str, numbers: Sequence[float]) -> list[float]:
    if isinstance(numbers, str) or not isinstance(numbers, Sequence):
        raise TypeError(
            f"{name} must be a list of numbers, got {numbers!r}: turn a tensor or an array into {name}.tolist()"
        )
    check_finite(**{f"{name}[{i}]": number for i, number in enumerate(numbers)})
    return list(numbers)
