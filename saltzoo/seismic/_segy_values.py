"""Values of header words: how many there are, and the evenly spaced axis that holds them."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.int64]

_TABLE = 16
"""Largest number of entries a trace of a table of values; beyond, values are sorted."""


def distinct_of(numbers: Numbers) -> int:
    """Return the number of different columns."""
    first, sizes = numbers.min(1, keepdims=True), np.ptp(numbers, 1) + 1
    cells = math.prod(sizes.tolist())
    if cells <= _TABLE * numbers.shape[1]:
        found = np.zeros(cells, np.bool_)
        found[np.ravel_multi_index(tuple(numbers - first), tuple(sizes))] = True
        return int(found.sum())
    ordered = numbers[:, np.lexsort(numbers)]
    return 1 + int((np.diff(ordered) != 0).any(0).sum())


def count_of(word: Numbers) -> int:
    """Return the number of evenly spaced lines that hold all values."""
    return (int(np.ptp(word)) // step_of(word)) + 1


def step_of(word: Numbers) -> int:
    """Return the largest step that reaches all values."""
    return int(np.gcd.reduce(np.diff(values_of(word)))) or 1


def values_of(word: Numbers) -> Numbers:
    """Return the different values of a word, ascending."""
    first, size = int(word.min()), int(np.ptp(word)) + 1
    if size > _TABLE * len(word):
        return np.unique(word)
    found = np.zeros(size, np.bool_)
    found[word - first] = True
    return np.flatnonzero(found) + first


def axis_of(word: Numbers) -> Numbers:
    """Return evenly spaced numbers that hold all values."""
    return np.arange(word.min(), word.max() + 1, step_of(word), dtype=np.int64)
