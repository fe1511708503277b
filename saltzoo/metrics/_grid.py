"""Which thresholds and areas a search tries, and which of equals it takes."""

from collections.abc import Sequence
from itertools import pairwise
from numbers import Number

import numpy as np
import torch
from torch import Tensor

STEPS = 10
"""Steps of a finer grid between a threshold and each of its neighbours."""


def threshold_grid(thresholds: int | Sequence[float]) -> tuple[float, ...]:
    """The thresholds of a number of them, even over 0..1, or those given.

    Raises:
        TypeError: a single number that is no count.
        ValueError: fewer than two, or none; not rising, or not in 0..1.
    """
    if isinstance(thresholds, int | np.integer):
        count = int(thresholds)
        if count < 2:
            raise ValueError(f"thresholds={thresholds} are too few. Give at least 2, or the thresholds themselves.")
        return tuple(k / (count - 1) for k in range(count))
    if isinstance(thresholds, float | np.floating):
        raise TypeError(f"thresholds={thresholds} is one number. Give how many, as 101, or a list of them.")
    grid = tuple(float(threshold) for threshold in thresholds)
    if not grid or not _rising(grid) or not (grid[0] >= 0 and grid[-1] <= 1):
        raise ValueError(f"thresholds={_short(grid)} are no grid. Give rising numbers in 0..1, at least one.")
    return grid


def area_grid(min_areas: Sequence[int]) -> tuple[int, ...]:
    """The minimal areas given.

    Raises:
        TypeError: a single number.
        ValueError: none, not rising, negative, or not whole.
    """
    if isinstance(min_areas, Number):
        raise TypeError(f"min_areas={min_areas} is one number. Give a list of them, as (0, {min_areas}).")
    grid = tuple(int(area) for area in min_areas)
    if not grid or not _rising(grid) or grid[0] < 0 or grid != tuple(min_areas):
        raise ValueError(f"min_areas={_short(tuple(min_areas))} are no grid. Give rising counts of pixels, as (0, 20).")
    return grid


def finer_grid(thresholds: Sequence[float], best: float) -> tuple[float, ...]:
    """STEPS steps from the threshold before the best to it, and on to the one after it; the ends included."""
    i = list(thresholds).index(best)
    near = thresholds[max(i - 1, 0) : i + 2]
    points = [np.linspace(a, b, STEPS + 1) for a, b in pairwise(near)]
    return tuple(np.unique(points).tolist())


def best_of(totals: Tensor) -> tuple[int, int]:
    """Row and column of the highest total of (T, A).

    Of equals it is the first column; in that, the middle of the longest run of rows, the upper of two middles,
    since what holds at a threshold holds on towards the next.
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
    """The thresholds of several grids in order, each once, and their rows of scores."""
    thresholds, first = np.unique(np.concatenate(grids), return_index=True)
    return tuple(thresholds.tolist()), torch.cat(list(scores))[torch.from_numpy(first)]


def _rising(grid: Sequence[float]) -> bool:
    return all(a < b for a, b in pairwise(grid))


def _short(grid: Sequence[object]) -> str:
    return repr(tuple(grid)) if len(grid) <= 6 else f"({', '.join(map(repr, grid[:3]))}, ..., {grid[-1]!r})"
