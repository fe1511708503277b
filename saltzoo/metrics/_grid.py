"""Thresholds and areas that a search tries, and the choice among equal scores."""

from collections.abc import Sequence
from itertools import pairwise
from numbers import Number

import numpy as np
import torch
from torch import Tensor

STEPS = 10
"""Steps of a finer grid between a threshold and each of its neighbours."""


def threshold_grid(thresholds: int | Sequence[float]) -> tuple[float, ...]:
    """Return a number of thresholds spread evenly over 0 to 1, or the given ones.

    Raises:
        TypeError: for a single float, or texts.
        ValueError: for a number below 2, or thresholds that are not increasing within 0 to 1.
    """
    if isinstance(thresholds, int | np.integer):
        count = int(thresholds)
        if count < 2:
            raise ValueError(
                f"thresholds must be at least 2, got {thresholds}: give a number of them, or a list of thresholds"
            )
        return tuple(k / (count - 1) for k in range(count))
    if isinstance(thresholds, float | np.floating | str) or any(isinstance(one, str) for one in thresholds):
        raise TypeError(f"thresholds must be a whole number, such as 101, or a list, got {thresholds!r}")
    grid = tuple(float(threshold) for threshold in thresholds)
    if not grid or not _increasing(grid) or not (grid[0] >= 0 and grid[-1] <= 1):
        raise ValueError(f"thresholds must be increasing numbers in 0..1, at least one, got {_short(grid)}")
    return grid


def area_grid(min_areas: Sequence[int]) -> tuple[int, ...]:
    """Return the minimal areas as a tuple.

    Raises:
        TypeError: for a single number.
        ValueError: if there are none, or they are not increasing whole numbers from 0.
    """
    if isinstance(min_areas, Number):
        raise TypeError(f"min_areas must be a list, got {min_areas}: give several, as in (0, {min_areas})")
    grid = tuple(int(area) for area in min_areas)
    if not grid or not _increasing(grid) or grid[0] < 0 or grid != tuple(min_areas):
        raise ValueError(
            f"min_areas must be increasing counts of pixels, such as (0, 20), got {_short(tuple(min_areas))}"
        )
    return grid


def finer_grid(thresholds: Sequence[float], best: float) -> tuple[float, ...]:
    """Return a grid from the threshold before the best to the one after it, with STEPS steps on each side."""
    i = list(thresholds).index(best)
    near = thresholds[max(i - 1, 0) : i + 2]
    points = [np.linspace(a, b, STEPS + 1) for a, b in pairwise(near)]
    return tuple(np.unique(points).tolist())


def best_of(totals: Tensor) -> tuple[int, int]:
    """Return row and column of the highest total in (T, A).

    Among equal totals the first column wins, and in it the middle of the longest run of rows. The upper of two middles
    wins, because the score at a threshold holds up to the next threshold.
    """
    highest = totals == totals.max()  # T A
    area = int(highest.any(0).int().argmax())
    best, start = range(0), 0
    for row, high in enumerate([*highest[:, area].tolist(), False]):
        if not high:
            best = max(best, range(start, row), key=len)
            start = row + 1
    return best[len(best) // 2], area


def merged(grids: Sequence[Sequence[float]], scores: Sequence[Tensor]) -> tuple[tuple[float, ...], Tensor]:
    """Merge several grids: thresholds in order, each once, and their rows of scores."""
    thresholds, first = np.unique(np.concatenate(grids), return_index=True)
    return tuple(thresholds.tolist()), torch.cat(list(scores))[torch.from_numpy(first)]


def _increasing(grid: Sequence[float]) -> bool:
    return all(a < b for a, b in pairwise(grid))


def _short(grid: Sequence[object]) -> str:
    return repr(tuple(grid)) if len(grid) <= 6 else f"({', '.join(map(repr, grid[:3]))}, ..., {grid[-1]!r})"
