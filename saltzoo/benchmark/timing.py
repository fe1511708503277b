"""Time contenders in turns, and summarise repeated measurements."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch

Run = Callable[[], object]


class Spread(NamedTuple):
    """Median, lowest and highest of repeated measurements."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Summarise one or more values."""
        return cls(statistics.median(values), min(values), max(values))

    def cells(self, name: str) -> dict[str, Any]:
        """Return three cells of a row, `name`, `name_min` and `name_max`, to four digits."""
        keys = (name, f"{name}_min", f"{name}_max")
        return {key: float(f"{value:.4g}") for key, value in zip(keys, self, strict=True)}


def alternate(
    contenders: Mapping[str, Run], *, rounds: int, device: torch.device, turn_s: float = 0.2
) -> dict[str, list[float]]:
    """Return the seconds of one call of each contender, one number per round.

    Each contender has one turn per round. The order of turns reverses from round to round, so that a machine that
    gets busier or hotter favours none of them. A turn repeats a short call until it lasts about `turn_s`, as many
    times for every contender, and ends when the device has finished.

    Args:
        contenders: name -> function to time.
        rounds: number of rounds.
        device: device that does the work.
        turn_s: approximate seconds of a turn of the fastest contender.
    """
    quickest = float("inf")
    for run in contenders.values():
        run()  # compiles, picks kernels, fills caches
        quickest = min(quickest, _turn(run, 1, device))
    calls = max(1, round(turn_s / quickest))
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for index in range(rounds):
        for name in list(contenders)[:: -1 if index % 2 else 1]:
            seconds[name].append(_turn(contenders[name], calls, device))
    return seconds


def _turn(run: Run, calls: int, device: torch.device) -> float:
    synchronize(device)
    start = time.perf_counter()
    for _ in range(calls):
        run()
    synchronize(device)
    return (time.perf_counter() - start) / calls


def ratios(baseline: Sequence[float], other: Sequence[float]) -> Spread:
    """Return how many times as fast as the baseline the other is, from the ratio in each round."""
    return Spread.of([theirs / ours for theirs, ours in zip(baseline, other, strict=True)])


def clock_of(device: torch.device) -> Callable[[], float]:
    """Return a clock: the processor's time of this process on one thread of a CPU, else that of the wall.

    Other work on the machine stretches the time of the wall, which single rows, not measured in turns, cannot bear.
    """
    return time.process_time if device.type == "cpu" and torch.get_num_threads() == 1 else time.perf_counter


def synchronize(device: torch.device) -> None:
    """Wait until the device has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
