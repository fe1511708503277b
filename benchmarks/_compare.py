"""What comparisons with a peer share: what is measured, how equal two results are, and the rows that say so.

A row is a contender; its ratio says how many times as fast as the peer it was, its difference how far its result
lies from the peer's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

import torch
from _measure import LAYOUTS, MIB, Row, Run, Spread, alternate, ratios
from torch import Tensor, nn

PEER = "smp"
OURS = "saltzoo"
CELLS = ("parameters", "gflop", "peak_mib", "saved_mib", "note")
"""Of a contender, besides its times and its match: GFLOP are of one image's forward pass."""


@dataclass(frozen=True)
class Plan:
    """What to measure.

    Attributes:
        device: "cpu" or "cuda".
        sizes: heights, and widths, of the images.
        batch: images.
        rounds: turns of each contender.
    """

    device: str
    sizes: tuple[int, ...]
    batch: int
    rounds: int


@dataclass(frozen=True)
class Match:
    """How far our result lies from the peer's, and how large the peer's is: largest absolute values.

    Attributes:
        difference: of the output.
        scale: of the output.
        gradient_difference: of the gradient, where there is one.
        gradient_scale: of the gradient.
        rounding: how far the peer's output lies from its own in fp32: what a difference in bf16 is to be judged by.
    """

    difference: float
    scale: float
    gradient_difference: float | None = None
    gradient_scale: float | None = None
    rounding: float | None = None

    @classmethod
    def of(cls, theirs: tuple[Tensor, ...], ours: tuple[Tensor, ...]) -> Match:
        """Of outputs, or of pairs of output and gradient."""
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
    """Says how equal they are, then times them.

    Args:
        plan: rounds and device.
        what: cells that all rows share.
        contenders: name -> what to time; the peer first.
        match: of OURS and the peer; None where they compute different things.
        cells: name -> those of CELLS that are known of it.
    """
    print(f"{', '.join(what.values())}: {match or 'different things, nothing to compare but speed'}", flush=True)
    times = alternate(contenders, rounds=plan.rounds, device=torch.device(plan.device))
    return timed_rows(plan, what, times, match, cells=cells)


def timed_rows(
    plan: Plan,
    what: Row,
    times: Mapping[str, list[float]],
    match: Match | None,
    *,
    cells: Mapping[str, Row] | None = None,
) -> list[Row]:
    """The rows of what `alternate` gave; the other arguments are those of `compare`."""
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
                # Only what computes the same can be compared with the peer's.
                **(asdict(match) if match and name == OURS else unknown),
                "note": own["note"],
                "rounds": plan.rounds,
            }
        )
    return rows


def batch(plan: Plan, size: int, layout: str) -> tuple[Tensor, Tensor]:
    """Images and masks of a plan, the same every time."""
    torch.manual_seed(0)
    images = torch.randn(plan.batch, 1, size, size).to(plan.device, memory_format=LAYOUTS[layout])
    return images, (torch.rand(plan.batch, 1, size, size) < 0.3).float().to(plan.device)


@torch.no_grad()
def calibrate(network: nn.Module, images: Tensor) -> None:
    """Sets the statistics of batch norm to those of the images.

    With those of a fresh network its maps grow to thousands, and so do differences of rounding.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = None  # the average of all batches, without what was there before
    network.train()
    for _ in range(2):
        network(images)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


@torch.no_grad()
def forward(layer: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """What a layer makes of a map, without a graph."""
    return layer(x)


def forward_backward(function: Callable[[Tensor], Tensor], x: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
    """Result and its gradient by `x`; parameters get theirs too, as in training."""
    x = x.detach().requires_grad_()
    y = function(x)
    y.backward(grad)
    if isinstance(function, nn.Module):
        function.zero_grad(set_to_none=True)
    if x.grad is None:
        raise RuntimeError("the backward pass left no gradient at its input")
    return y.detach(), x.grad


def saved_mib(layer: nn.Module, x: Tensor) -> float:
    """Memory in MiB that a layer keeps between its forward and its backward pass, without parameters.

    Its input counts where it is kept. What two tensors share counts once, and as a whole where only a part is kept.
    """
    own = {tensor.untyped_storage().data_ptr() for tensor in (*layer.parameters(), *layer.buffers())}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor  # alive until the backward pass, so that no other tensor gets its place

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        y = layer(x.detach().requires_grad_())
    del y
    return sum(kept.values()) / MIB
