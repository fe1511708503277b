"""Compare a contender with a peer: agreement of their results, times, and the rows that report both.

A row describes one contender. Its ratio is how many times as fast as the peer it was; its difference is how far its
result is from the peer's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from saltzoo.benchmark.report import Row
from saltzoo.benchmark.steps import LAYOUTS
from saltzoo.benchmark.timing import Run, Spread, alternate, ratios

PEER = "smp"
OURS = "saltzoo"
CELLS = ("parameters", "gflop", "peak_mib", "saved_mib", "note")
"""Cells of a contender besides its times and its match. GFLOP: the forward pass of one image."""


@dataclass(frozen=True)
class Plan:
    """Settings of a measurement.

    Attributes:
        device: "cpu" or "cuda".
        sizes: heights, and equal widths, of the images.
        batch: images in a batch.
        rounds: turns of each contender.
        turn_s: approximate seconds of a turn of the fastest contender.
    """

    device: str
    sizes: tuple[int, ...]
    batch: int
    rounds: int
    turn_s: float = 0.2


@dataclass(frozen=True)
class Match:
    """Agreement of two results, in largest absolute values.

    Attributes:
        difference: largest difference between our output and the peer's.
        scale: largest value of the peer's output.
        gradient_difference: largest difference between the gradients, if they were computed.
        gradient_scale: largest value of the peer's gradient.
        rounding: largest difference between the peer's output and its output in fp32, to judge a difference in bf16.
    """

    difference: float
    scale: float
    gradient_difference: float | None = None
    gradient_scale: float | None = None
    rounding: float | None = None

    @classmethod
    def of(cls, theirs: tuple[Tensor, ...], ours: tuple[Tensor, ...]) -> Match:
        """Compare outputs, or pairs of output and gradient."""
        numbers: list[float] = []
        for a, b in zip(theirs, ours, strict=True):
            numbers += [(a - b).abs().max().item(), a.abs().max().item()]
        return cls(*numbers)

    def __str__(self) -> str:
        text = f"outputs differ by {self.difference:.2g} of {self.scale:.2g}"
        if self.gradient_difference is not None:
            text += f", gradients by {self.gradient_difference:.2g} of {self.gradient_scale:.2g}"
        if self.rounding is not None:
            text += f"; the peer's own rounding is {self.rounding:.2g}"
        return text


def compare(
    plan: Plan,
    what: Row,
    contenders: Mapping[str, Run],
    match: Match | None,
    *,
    cells: Mapping[str, Row] | None = None,
) -> list[Row]:
    """Print how far the results agree, then time the contenders.

    Args:
        plan: rounds and device.
        what: cells that all rows share.
        contenders: name -> function to time; the peer first.
        match: agreement of OURS with the peer; None if they compute different things.
        cells: name -> known values of CELLS.
    """
    print(f"{', '.join(what.values())}: {match or 'different results, only speed is compared'}", flush=True)
    times = alternate(contenders, rounds=plan.rounds, device=torch.device(plan.device), turn_s=plan.turn_s)
    return timed_rows(plan, what, times, match, cells=cells)


def timed_rows(
    plan: Plan,
    what: Row,
    times: Mapping[str, list[float]],
    match: Match | None,
    *,
    cells: Mapping[str, Row] | None = None,
) -> list[Row]:
    """Return the rows of the times of `alternate`; the other arguments are those of `compare`."""
    peer = next(iter(times))
    unknown: Row = dict.fromkeys(Match.__dataclass_fields__)
    rows = []
    for name, seconds in times.items():
        own: Row = dict.fromkeys(CELLS) | dict((cells or {}).get(name, {}))
        rows.append(
            {
                **{key: what.get(key, "") for key in ("subject", "mode", "shape", "dtype", "layout", "compile")},
                "contender": name,
                **Spread.of([1e3 * value for value in seconds]).cells("ms"),
                **ratios(times[peer], seconds).cells("ratio"),
                **{key: own[key] for key in CELLS[:-1]},
                # Only OURS computes the same as the peer.
                **(asdict(match) if match and name == OURS else unknown),
                "note": own["note"],
                "rounds": plan.rounds,
            }
        )
    return rows


def batch(plan: Plan, size: int, layout: str) -> tuple[Tensor, Tensor]:
    """Return the images and masks of a plan, the same in every call."""
    torch.manual_seed(0)
    images = torch.randn(plan.batch, 1, size, size).to(plan.device, memory_format=LAYOUTS[layout])
    return images, (torch.rand(plan.batch, 1, size, size) < 0.3).float().to(plan.device)


@torch.no_grad()
def calibrate(network: nn.Module, images: Tensor) -> None:
    """Set the statistics of batch norm to those of the images.

    With the initial statistics the feature maps grow to thousands, and so do rounding differences.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = None  # cumulative average, without the initial statistics
    network.train()
    for _ in range(2):
        network(images)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


@torch.no_grad()
def forward(layer: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Apply a layer to a map without recording a graph."""
    return layer(x)


def forward_backward(function: Callable[[Tensor], Tensor], x: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
    """Return the result and its gradient with respect to `x`; parameters get gradients too, as in training."""
    x = x.detach().requires_grad_()
    y = function(x)
    y.backward(grad)
    if isinstance(function, nn.Module):
        function.zero_grad(set_to_none=True)
    if x.grad is None:
        raise RuntimeError("the backward pass left no gradient at its input")
    return y.detach(), x.grad
