"""Image sizes that a timm network takes, found by trials on the meta device, where they need no memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from .trace import Trace, trace


def trace_any_size(twin: nn.Module, in_chans: int) -> tuple[int | None, Trace]:
    """Return the smallest number of which the sides of an image must be multiples, and a trace; None for one size.

    The network takes the size for which it was made. If it takes all multiples of some number, that number therefore
    divides this size: 32 or a window of 5 times 32, for instance. Trials are multiples that have no other common
    factor with it, so that none is taken by chance.

    Args:
        twin: network on the meta device, in evaluation mode.
        in_chans: channels of the image.
    """
    own = math.gcd(*default_size(twin))
    if seen := _trace_multiple(twin, 1, own, in_chans):
        return 1, seen
    multiple, seen = own, _trace_multiple(twin, own, own, in_chans)
    if seen is None:
        return None, trace(twin, default_size(twin), in_chans=in_chans)
    for factor in _prime_factors(own):
        while multiple % factor == 0 and (smaller := _trace_multiple(twin, multiple // factor, own, in_chans)):
            multiple, seen = multiple // factor, smaller
    return multiple, seen


def _trace_multiple(twin: nn.Module, multiple: int, own: int, in_chans: int) -> Trace | None:
    """Return a trace of an image whose sides are multiples of a number, None if the network does not take it."""
    # Odd multiples stay odd when halved: one side is rounded up, and after a stem the other is rounded down.
    height = _trial_side(321, multiple, own, least=3)
    # Not square, so that a network that resizes every image to a square is noticed.
    width = _trial_side(381, multiple, own, least=height // multiple + 2)
    try:
        return trace(twin, (height, width), in_chans=in_chans)
    except Exception:  # networks raise many kinds of errors for a size that they do not take
        return None


def _trial_side(side: int, multiple: int, own: int, *, least: int) -> int:
    """Return an odd multiple near `side`, at least `least` times the number, whose factor is coprime to `own`."""
    times = max(least, side // multiple | 1)
    while math.gcd(times, own) > 1:
        times += 128 if multiple == 1 else 2  # after 128 pixels halvings round as before
    return times * multiple


def _prime_factors(number: int) -> list[int]:
    """Return the prime factors of a number, largest first.

    Example:
        >>> _prime_factors(160)
        [5, 2]
    """
    factors = [n for n in range(2, number + 1) if number % n == 0]
    return [n for n in reversed(factors) if all(n % other or n == other for other in factors)]


def default_size(twin: Any) -> tuple[int, int]:
    """Return H and W of the images for which a network was made."""
    height, width = twin.pretrained_cfg["input_size"][-2:]
    return height, width


def map_sizes(maps: Sequence[torch.Tensor], channels_last: bool) -> list[tuple[int, int]]:
    """Return H and W of maps N C H W, or N H W C."""
    first = 1 if channels_last else 2
    return [(one.shape[first], one.shape[first + 1]) for one in maps]


def follow_image(seen: Trace, reductions: Sequence[int], channels_last: bool) -> bool:
    """Return whether each map has the size of the image divided by its reduction, up to a pixel of rounding."""
    return all(
        abs(side / r - got) <= 1
        for r, size in zip(reductions, map_sizes(seen.maps, channels_last), strict=True)
        for side, got in zip(seen.size, size, strict=True)
    )


def measure_reductions(twin: nn.Module, seen: Trace, channels_last: bool) -> tuple[float, ...]:
    """Return by how many pixels the height of an image must grow for each map to grow by one, from a second run.

    The number is infinite for a network that resizes every image to one size. Otherwise rounding makes it inexact.

    Args:
        twin: network on the meta device, in evaluation mode.
        seen: trace of the network for an image of one of the sizes that it takes.
        channels_last: whether the maps are N H W C.
    """
    height, width = seen.size
    with torch.no_grad():
        taller = twin(torch.zeros(1, seen.in_chans, 2 * height, width, device="meta"))
    before, after = map_sizes(seen.maps, channels_last), map_sizes(taller, channels_last)
    return tuple(
        height / (tall - short) if tall > short and wide == as_wide else math.inf
        for (short, wide), (tall, as_wide) in zip(before, after, strict=True)
    )
