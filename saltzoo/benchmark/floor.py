"""The floor of a network's time: its operations by the rate of a large matrix product on the same device."""

from __future__ import annotations

import torch
from torch.utils.flop_counter import FlopCounterMode

from .timing import Run, Spread, clock_of, synchronize

_SIDES = {"cpu": 2048, "cuda": 8192}
"""Side of the square matrices by type of device: large enough that the rate no longer grows."""

_ROUNDS = 5


def matmul_gflops(dtype: torch.dtype, device: torch.device) -> float:
    """Return the GFLOP per second of a large matrix product, the median of 5, a multiply-add as two operations."""
    side = _SIDES.get(device.type, 2048)
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))

    @torch.inference_mode()
    def run() -> None:
        torch.mm(a, b)

    run()
    seconds, clock = [], clock_of(device)
    for _ in range(_ROUNDS):
        synchronize(device)
        start = clock()
        run()
        synchronize(device)
        seconds.append(clock() - start)
    return 2 * side**3 / Spread.of(seconds).median / 1e9


def step_gflop(step: Run) -> float:
    """Return the GFLOP of one call, backward pass included: convolutions and matrix products, as `cost` counts them.

    Example:
        >>> x = torch.ones(4, 3)
        >>> step_gflop(lambda: x @ x.T) * 1e9
        96.0
    """
    with FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops() / 1e9
