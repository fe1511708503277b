"""What changes while a network trains: the rate, and the weights of losses."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

Points = Sequence[Sequence[float]]
_TINY = 1e-9
"""More than rounding errors in numbers of epochs."""


@dataclass(frozen=True)
class Curve:
    """A value over the progress of training: straight lines between points, level before the first and after the last.

    Attributes:
        points: (progress, value) each; progress is the share of all steps that are done, 0 to 1, and rises.

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
                f"a curve needs one point (progress, value) or more, of rising progress in 0..1, got {self.points}"
            )
        if not all(math.isfinite(value) for _, value in self.points):
            raise ValueError(f"the values of a curve are finite, got {self.points}")

    @classmethod
    def of(cls, value: float | Points) -> Curve:
        """A constant, or a curve through points."""
        if isinstance(value, int | float):
            return cls(((0.0, float(value)),))
        try:
            return cls(tuple((float(progress), float(height)) for progress, height in value))
        except (TypeError, ValueError) as error:
            raise ValueError(f"a curve is a number or points [[progress, value], ...], got {value}: {error}") from error

    def __call__(self, progress: float) -> float:
        """Its value after that share of all steps."""
        first, last = self.points[0], self.points[-1]
        if progress <= first[0]:
            return first[1]
        for (start, low), (end, high) in pairwise(self.points):
            if progress <= end:
                return low + (high - low) * (progress - start) / (end - start)
        return last[1]


def rate_factor(progress: float, *, warmup: float, ends: Sequence[float] = (1.0,)) -> float:
    """Share of the peak rate: rising in a line, then along a cosine to 0, restarted at its top in every further cycle.

    Args:
        progress: share of all steps that are done, 0 to 1.
        warmup: share of all steps in which the rate rises.
        ends: of each cycle of the cosine (SGDR, https://arxiv.org/abs/1608.03983), the progress at which it is at 0.
            They rise, and the first is above `warmup`.

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
    """After how many epochs each cycle ends: as even as can be in whole epochs, so that weights are kept at rate 0.

    Args:
        epochs: of the run.
        warmup: share of all steps before the first cycle.
        cycles: how many.

    Raises:
        ValueError: if there are fewer epochs than that takes.

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
            f"rate.cycles={cycles} cycles must have an epoch each, and of epochs={epochs} the warm-up leaves "
            f"{epochs - start:g}: give at most {max(1, math.floor(epochs - start + _TINY))} cycles, or more epochs"
        )
    return ends


def check_share(name: str, share: float) -> None:
    """Refuses what is no share of all steps; 1 is none either, as nothing would follow.

    Raises:
        ValueError: if it is not 0 to below 1.
    """
    if not 0 <= share < 1:
        raise ValueError(f"{name} is a share of all steps, 0 up to 1, got {share}")
