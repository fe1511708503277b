"""What annotations say of plain values."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pytest

from saltzoo._config import matches

YES = [
    (3, int),
    (3, float),
    (0.5, float),
    (True, bool),
    ("no", str),
    (None, int | None),
    ("a", Literal["a", "b"]),
    ([1, 2], Sequence[int]),
    ((), Sequence[int]),
    ([[0.1, 1]], float | Sequence[Sequence[float]]),
    ([0.9, 1], tuple[float, float]),
    (["a", "b", "c"], tuple[str, ...]),
    ({"a": 1}, Mapping[str, float]),
    ({"a": [None]}, Mapping[str, Any]),
    ("of a class that is not plain, anything is", Path),
]
NO = [
    (0.5, int),
    (True, int),
    (False, float),
    (1, bool),
    ("no", bool),
    (None, int),
    ("c", Literal["a", "b"]),
    ("ab", Sequence[str]),
    ([1, "2"], Sequence[int]),
    ([True], Sequence[int]),
    ([0.9], tuple[float, float]),
    ([0.9, 1, 1], tuple[float, float]),
    ("abc", tuple[str, ...]),
    ([1], tuple[str, ...]),
    ({"a": "1"}, Mapping[str, float]),
    ({1: 1.0}, Mapping[str, float]),
    ([("a", 1)], Mapping[str, int]),
    (True, int | None),
]


@pytest.mark.parametrize(("value", "hint"), YES)
def test_fits(value, hint):
    assert matches(value, hint)


@pytest.mark.parametrize(("value", "hint"), NO)
def test_does_not_fit(value, hint):
    assert not matches(value, hint)
