"""Schedules over the progress of training: learning rate and weights of losses."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from ..._checks import check_fraction

Points = Sequence[Sequence[float]]
_TINY = 1e-9
"""Tolerance for rounding errors in numbers of epochs."""


@dataclass(frozen=True)
class Curve:
    """Piecewise linear function of the progress of training, constant before the first point and after the last.

    Attributes:
        points: pairs (progress, value) of increasing progress, which is the fraction of all steps that are done.

    Example:
        >>> fade = Curve(((0.05, 1.0), (0.10, 0.2)))
        >>> fade(0.0), round(fade(0.075), 3), fade(1.0)
        (1.0, 0.6, 0.2)
    """

    points: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        progress = [point[0] for point in self.points]
        rising = all(a < b for a, b in pairwise(progress))
        if not progress or not rising or progress[0] < 0 or progress[-1] > 1:
            raise ValueError(
                f"a curve must have points (progress, value), at least one, of increasing progress in 0..1, "
                f"got {self.points}"
            )
        if not all(math.isfinite(value) for _, value in self.points):
            raise ValueError(f"the values of a curve must be finite, got {self.points}")

    @classmethod
    def of(cls, value: float | Points) -> Curve:
        """Return a constant, or the curve through points.

        Raises:
            ValueError: if `value` is neither a number nor a list of points.
        """
        if isinstance(value, int | float):
            return cls(((0.0, float(value)),))
        try:
            return cls(tuple((float(progress), float(height)) for progress, height in value))
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"a curve must be a number or points [[progress, value], ...], got {value}: {error}"
            ) from error

    def __call__(self, progress: float) -> float:
        """Return the value at a progress."""
        first, last = self.points[0], self.points[-1]
        if progress <= first[0]:
            return first[1]
        for (start, low), (end, high) in pairwise(self.points):
            if progress <= end:
                return low + (high - low) * (progress - start) / (end - start)
        return last[1]


def rate_factor(progress: float, *, warmup: float, ends: Sequence[float] = (1.0,)) -> float:
    """Return the learning rate as a fraction of its peak: a linear warm-up, then one or more cosine cycles down to 0.

    Args:
        progress: fraction of all steps that are done, 0 to 1.
        warmup: fraction of all steps that the warm-up takes.
        ends: progress at the end of each cosine cycle (SGDR, https://arxiv.org/abs/1608.03983), increasing, the first
            above `warmup`.

    Example:
        >>> [round(rate_factor(p, warmup=0.1), 3) for p in (0, 0.05, 0.1, 0.55, 1)]
        [0.0, 0.5, 1.0, 0.5, 0.0]
        >>> [round(rate_factor(p, warmup=0.0, ends=(0.4, 1.0)), 3) for p in (0, 0.2, 0.3999, 0.4, 0.7)]
        [1.0, 0.5, 0.0, 1.0, 0.5]
    """
    if progress < warmup:
        return progress / warmup
    if progress >= ends[-1]:
        return 0.0
    cycle = bisect_right(ends, progress)
    start = ends[cycle - 1] if cycle else warmup
    return 0.5 + 0.5 * math.cos(math.pi * (progress - start) / (ends[cycle] - start))


def cycle_ends(epochs: int, *, warmup: float, cycles: int) -> tuple[int, ...]:
    """Return the epoch after which each cycle ends: whole epochs, so that weights can be kept at rate 0.

    Args:
        epochs: number of epochs of the run.
        warmup: fraction of all steps before the first cycle.
        cycles: number of cycles, of lengths as equal as possible.

    Raises:
        ValueError: if there are more cycles than epochs after the warm-up.

    Example:
        >>> cycle_ends(40, warmup=0.0, cycles=4), cycle_ends(40, warmup=0.05, cycles=4)
        ((10, 20, 30, 40), (12, 21, 31, 40))
    """
    if cycles == 1:
        return (epochs,)
    start = warmup * epochs
    each = (epochs - start) / cycles
    ends = tuple(math.floor(start + each * (cycle + 1) + 0.5 + _TINY) for cycle in range(cycles))
    if min(end - begin for begin, end in pairwise((start, *ends))) < 0.5 - _TINY:
        raise ValueError(
            f"each of rate.cycles={cycles} cycles must have an epoch, but the warm-up leaves {epochs - start:g} of "
            f"epochs={epochs}: give at most {max(1, math.floor(epochs - start + _TINY))} cycles, or more epochs"
        )
    return ends


def check_share(name: str, share: float) -> None:
    """Raise ValueError unless 0 <= share < 1."""
    check_fraction(**{name: share})
