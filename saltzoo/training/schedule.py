"""What changes while a network trains: the rate, and the weights of losses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

Points = Sequence[Sequence[float]]


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


def rate_factor(progress: float, *, warmup: float, cycles: int = 1) -> float:
    """Share of the peak rate: rising in a line, then along a cosine to 0, restarted at its top in every further cycle.

    Args:
        progress: share of all steps that are done, 0 to 1.
        warmup: share of all steps in which the rate rises.
        cycles: of the cosine (SGDR, https://arxiv.org/abs/1608.03983), each as long.

    Example:
        >>> [round(rate_factor(p, warmup=0.1), 3) for p in (0, 0.05, 0.1, 0.55, 1)]
        [0.0, 0.5, 1.0, 0.5, 0.0]
        >>> round(rate_factor(0.75, warmup=0.0, cycles=2), 3)
        0.5
    """
    if progress < warmup:
        return progress / warmup
    along = cycles * (progress - warmup) / (1 - warmup)
    return 0.5 + 0.5 * math.cos(math.pi * (1.0 if progress >= 1 else along % 1))
