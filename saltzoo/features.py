"""FeatureSpec: what an encoder promises a decoder."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FeatureSpec:
    """The pyramid that an encoder returns, finest map first.

    Attributes:
        channels: channels of each map.
        reductions: how many times smaller than the input each map is, about: the true size is the map's own
            (odd sizes, valid padding).

    Example:
        >>> FeatureSpec(channels=(64, 128), reductions=(4, 8)).coarsest
        8
    """

    channels: tuple[int, ...]
    reductions: tuple[int, ...]

    def __post_init__(self) -> None:
        powers = all(r > 0 and r & (r - 1) == 0 for r in self.reductions)
        if not self.channels or len(self.channels) != len(self.reductions):
            raise ValueError(f"one reduction for each map: got {self.channels} and {self.reductions}")
        if not powers or list(self.reductions) != sorted(set(self.reductions)):
            raise ValueError(f"reductions must be rising powers of two, got {self.reductions}")

    @property
    def coarsest(self) -> int:
        """The reduction of the last map."""
        return self.reductions[-1]

    def channels_at(self, reduction: int) -> int:
        """Channels of the map at `reduction`, 0 where there is none."""
        return dict(zip(self.reductions, self.channels, strict=True)).get(reduction, 0)
