"""saltzoo beside segmentation_models_pytorch (SMP): what is compared, and that both compute the same.

Each function yields the rows of one subject. A row is a contender; its ratio says how many times as fast as SMP it
was, its difference how far its result lies from SMP's.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import product

import segmentation_models_pytorch as smp
import torch
from _measure import (
    LAYOUTS,
    Row,
    Run,
    Spread,
    alternate,
    inference,
    ratios,
    step_mib,
    training,
)
from segmentation_models_pytorch.base.modules import SCSEModule
from torch import Tensor, nn

import saltzoo
from saltzoo.convert import from_smp
from saltzoo.layers import SCSE
from saltzoo.losses import lovasz_hinge

PEER = "smp"
OURS = "saltzoo"
DEFAULT = "saltzoo unet_resnet34_scse"
COPY = "copy of the map"
"""The floor of a layer that reads a map and writes one."""


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
    """How far our result lies from SMP's, and how large SMP's is: largest absolute values.

    Attributes:
        difference: of the output.
        scale: of the output.
        gradient_difference: of the gradient, where there is one.
        gradient_scale: of the gradient.
        rounding: how far SMP's output lies from its own in fp32: what a difference in bf16 is to be judged by.
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
            text += f"; smp's own rounding is {self.rounding:.2g}"
        return text


def network_rows(plan: Plan) -> Iterator[Row]:
    """SMP's Unet, the same by `from_smp`, and our default beside them: inference and training step."""
    for size, dtype, layout in product(plan.sizes, ("fp32", "bf16"), ("channels_last", "nchw")):
        images, masks = _batch(plan, size, layout)
        networks = _networks(plan, images, layout)
        what = {"shape": f"{plan.batch}x1x{size}x{size}", "dtype": dtype, "layout": layout}

        forwards = {name: inference(network, images, dtype) for name, network in networks.items()}
        match = Match.of((forwards[PEER]().float(),), (forwards[OURS]().float(),))
        if dtype != "fp32":
            exact = inference(networks[PEER], images, "fp32")()
            match = replace(match, rounding=Match.of((exact,), (forwards[PEER]().float(),)).difference)
        yield from _rows(plan, {"subject": "unet", "mode": "inference", **what}, forwards, match)

        steps = {name: training(network, images, masks, dtype) for name, network in networks.items()}
        results = {name: (steps[name](), _first_gradient(networks[name])) for name in (PEER, OURS)}
        match = Match.of(results[PEER], results[OURS])
        steps[DEFAULT]()
        memory = {name: step_mib(steps[name], networks[name], torch.device(plan.device)) for name in networks}
        yield from _rows(plan, {"subject": "unet", "mode": "training step", **what}, steps, match, memory=memory)


def scse_rows(plan: Plan) -> Iterator[Row]:
    """A map of 64 channels through scSE alone, eager and compiled; a copy of the map beside them."""
    device = torch.device(plan.device)
    size = max(plan.sizes)
    for layout, compiled in product(LAYOUTS, (False, True)):
        theirs, ours = _scse_pair(device)
        x = torch.randn(plan.batch, 64, size, size, device=device).to(memory_format=LAYOUTS[layout])
        grad = torch.randn_like(x)
        layers: dict[str, Callable[[Tensor], Tensor]] = {PEER: theirs, OURS: ours}
        if compiled:
            torch.compiler.reset()
            layers = {name: torch.compile(layer) for name, layer in layers.items()}
        layers[COPY] = torch.clone
        what = {"subject": "scse", "shape": f"{plan.batch}x64x{size}x{size}", "dtype": "fp32", "layout": layout}
        what["compile"] = "default" if compiled else "none"

        forwards: dict[str, Run] = {name: partial(_forward, layer, x) for name, layer in layers.items()}
        match = Match.of((_forward(layers[PEER], x),), (_forward(layers[OURS], x),))
        yield from _rows(plan, {**what, "mode": "forward"}, forwards, match)

        both: dict[str, Run] = {name: partial(_forward_backward, layer, x, grad) for name, layer in layers.items()}
        match = Match.of(_forward_backward(layers[PEER], x, grad), _forward_backward(layers[OURS], x, grad))
        yield from _rows(plan, {**what, "mode": "forward and backward"}, both, match)


def lovasz_rows(plan: Plan) -> Iterator[Row]:
    """The Lovász hinge of 40 tiles of 101 x 101, forward and backward; our symmetric form beside them."""
    shape = (40, 1, 101, 101)
    logits = 3 * torch.randn(shape, device=plan.device)
    target = (torch.rand(shape, device=plan.device) < 0.3).float()
    target[:16] = 0  # two of five tiles of the competition are empty
    losses: dict[str, Callable[[Tensor], Tensor]] = {
        PEER: partial(smp.losses.LovaszLoss(mode="binary", per_image=True), y_true=target),
        OURS: partial(lovasz_hinge, target=target),
        "saltzoo symmetric elu": partial(lovasz_hinge, target=target, margin="elu", symmetric=True),
    }
    one = torch.ones((), device=plan.device)
    steps: dict[str, Run] = {name: partial(_forward_backward, loss, logits, one) for name, loss in losses.items()}
    match = Match.of(_forward_backward(losses[PEER], logits, one), _forward_backward(losses[OURS], logits, one))
    what = {"subject": "lovasz", "mode": "forward and backward", "shape": "x".join(map(str, shape)), "dtype": "fp32"}
    yield from _rows(plan, what, steps, match)


def import_rows(plan: Plan) -> Iterator[Row]:
    """What an import costs beyond Python itself, in fresh processes."""
    codes = {"python": "pass", PEER: "import segmentation_models_pytorch", OURS: "import saltzoo"}
    runs: dict[str, Run] = {
        name: partial(subprocess.run, [sys.executable, "-c", code], check=True) for name, code in codes.items()
    }
    times = alternate(runs, rounds=plan.rounds, device=torch.device("cpu"), turn_s=0)
    python = times.pop("python")
    beyond = {name: [t - p for t, p in zip(values, python, strict=True)] for name, values in times.items()}
    yield from _timed_rows(plan, {"subject": "import", "mode": "beyond Python itself"}, beyond, None, {})


SUBJECTS: dict[str, Callable[[Plan], Iterator[Row]]] = {
    "unet": network_rows,
    "scse": scse_rows,
    "lovasz": lovasz_rows,
    "import": import_rows,
}


def _rows(
    plan: Plan,
    what: Row,
    contenders: Mapping[str, Run],
    match: Match,
    *,
    memory: Mapping[str, float] | None = None,
) -> Iterator[Row]:
    """Says how equal they are, then times them."""
    print(f"{', '.join(what.values())}: {match}", flush=True)
    times = alternate(contenders, rounds=plan.rounds, device=torch.device(plan.device))
    yield from _timed_rows(plan, what, times, match, memory or {})


def _timed_rows(
    plan: Plan,
    what: Row,
    times: Mapping[str, list[float]],
    match: Match | None,
    memory: Mapping[str, float],
) -> Iterator[Row]:
    unknown: Row = dict.fromkeys(Match.__dataclass_fields__)
    for name, seconds in times.items():
        mib = memory.get(name)
        yield {
            **{key: what.get(key, "") for key in ("subject", "mode", "shape", "dtype", "layout", "compile")},
            "contender": name,
            **Spread.of([1e3 * value for value in seconds]).cells("ms"),
            **ratios(times[PEER], seconds).cells("ratio"),
            "peak_mib": None if mib is None else round(mib),
            # Only the same network, or loss, can be compared with SMP's.
            **(asdict(match) if match and name == OURS else unknown),
            "rounds": plan.rounds,
        }


def _batch(plan: Plan, size: int, layout: str) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    images = torch.randn(plan.batch, 1, size, size).to(plan.device, memory_format=LAYOUTS[layout])
    return images, (torch.rand(plan.batch, 1, size, size) < 0.3).float().to(plan.device)


def _networks(plan: Plan, images: Tensor, layout: str) -> dict[str, nn.Module]:
    """The three networks by name, the first two with the same weights."""
    torch.manual_seed(0)
    theirs = smp.Unet("resnet34", encoder_weights=None, in_channels=1, classes=1, decoder_attention_type="scse").to(
        plan.device
    )
    _calibrate(theirs, images)
    default = saltzoo.create_model("unet_resnet34_scse").to(plan.device)
    _calibrate(default, images)
    networks = {PEER: theirs, OURS: from_smp(theirs).to(plan.device), DEFAULT: default}
    for network in networks.values():
        network.to(memory_format=LAYOUTS[layout])
    return networks


@torch.no_grad()
def _calibrate(network: nn.Module, images: Tensor) -> None:
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


def _first_gradient(network: nn.Module) -> Tensor:
    """Gradient of the first filters, which the whole backward pass goes into."""
    gradient = next(network.parameters()).grad
    if gradient is None:
        raise RuntimeError("the training step left no gradient at the first filters")
    return gradient.clone()


def _scse_pair(device: torch.device) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    theirs, ours = SCSEModule(64, reduction=16), SCSE(64, reduction=16)
    # Both list squeeze, excite, spatial; one branch is 1x1 convolutions there and linear layers here.
    pairs = zip(theirs.parameters(), ours.parameters(), strict=True)
    with torch.no_grad():
        for their_weight, our_weight in pairs:
            our_weight.copy_(their_weight.reshape(our_weight.shape))
    return theirs.to(device), ours.to(device)


@torch.no_grad()
def _forward(layer: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    return layer(x)


def _forward_backward(function: Callable[[Tensor], Tensor], x: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
    """Result and its gradient by `x`; parameters get theirs too, as in training."""
    x = x.detach().requires_grad_()
    y = function(x)
    y.backward(grad)
    if isinstance(function, nn.Module):
        function.zero_grad(set_to_none=True)
    if x.grad is None:
        raise RuntimeError("the backward pass left no gradient at its input")
    return y.detach(), x.grad
