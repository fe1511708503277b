"""Layers compared with those of a peer: scSE, BAM, pyramid pooling; and the time of an import."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import product

import torch
import torch.nn.functional as F
from measure.comparison import OURS, PEER, Match, Plan, compare, forward, forward_backward, timed_rows
from segmentation_models_pytorch.base.modules import SCSEModule
from segmentation_models_pytorch.decoders.pspnet.decoder import PSPModule
from torch import Tensor, nn

from saltzoo.benchmark.memory import saved_mib, step_mib
from saltzoo.benchmark.report import Row
from saltzoo.benchmark.steps import LAYOUTS
from saltzoo.benchmark.timing import Run, alternate
from saltzoo.layers import BAM, SCSE, PyramidPooling

COPY = "copy of the map"
"""Lower bound for a layer that reads one map and writes one."""

PLAIN = "torch ops"
"""A layer written with torch modules, for layers that SMP lacks."""

Layer = Callable[[Tensor], Tensor]


def scse_rows(plan: Plan) -> Iterator[Row]:
    """Time scSE on a map of 64 channels, eager and compiled, beside a copy of the map."""
    yield from _layer_rows(plan, "scse", _scse_pair, peer=PEER)


def bam_rows(plan: Plan) -> Iterator[Row]:
    """Time BAM as scSE is timed; SMP has no BAM, so the peer is written with torch operations.

    The forward pass runs in evaluation mode, the two passes together in training mode, with batch statistics.
    """
    yield from _layer_rows(plan, "bam", _bam_pair, peer=PLAIN, trains=True)


def _layer_rows(
    plan: Plan,
    subject: str,
    make_pair: Callable[[torch.device], tuple[nn.Module, nn.Module]],
    *,
    peer: str,
    trains: bool = False,
) -> Iterator[Row]:
    device = torch.device(plan.device)
    # The average over one image is a single value, on which batch norm cannot train.
    count, size = max(plan.batch, 2 if trains else 1), max(plan.sizes)
    for layout, compiled in product(LAYOUTS, (False, True)):
        theirs, ours = make_pair(device)
        x = torch.randn(count, 64, size, size, device=device).to(memory_format=LAYOUTS[layout])
        grad = torch.randn_like(x)
        modules = {peer: theirs, OURS: ours}
        layers: dict[str, Layer] = dict(modules)
        if compiled:
            torch.compiler.reset()
            layers = {name: torch.compile(layer) for name, layer in layers.items()}
        layers[COPY] = torch.clone
        what = {"subject": subject, "shape": f"{count}x64x{size}x{size}", "dtype": "fp32", "layout": layout}
        what["compile"] = "default" if compiled else "none"

        _set_training(modules, False)
        forwards: dict[str, Run] = {name: partial(forward, layer, x) for name, layer in layers.items()}
        match = Match.of((forward(layers[peer], x),), (forward(layers[OURS], x),))
        yield from compare(plan, {**what, "mode": "forward"}, forwards, match)

        _set_training(modules, True)
        both: dict[str, Run] = {name: partial(forward_backward, layer, x, grad) for name, layer in layers.items()}
        match = Match.of(forward_backward(layers[peer], x, grad), forward_backward(layers[OURS], x, grad))
        cells = {} if compiled else _memory(modules, both, x)
        yield from compare(plan, {**what, "mode": "forward and backward"}, both, match, cells=cells)


def _set_training(modules: Mapping[str, nn.Module], mode: bool) -> None:
    for module in modules.values():
        module.train(mode)


def _memory(modules: Mapping[str, nn.Module], steps: Mapping[str, Run], x: Tensor) -> dict[str, Row]:
    """Return what each layer keeps for its backward pass, and the peak of both passes, without their input."""
    return {
        name: {
            "peak_mib": round(step_mib(steps[name], module, x.device), 2),
            "saved_mib": round(saved_mib(module, x), 2),
        }
        for name, module in modules.items()
    }


def pyramid_pooling_rows(plan: Plan) -> Iterator[Row]:
    """Time pyramid pooling of a map of 256 channels at 1/8 of the image's size, in evaluation mode.

    SMP's module differs in three ways: no batch norm after its single cell, which our weights compensate for; the map
    comes last; and it upsamples with `align_corners=True`. The difference is measured against SMP's convolutions
    upsampled as ours are.
    """
    device = torch.device(plan.device)
    for size, layout in product(plan.sizes, LAYOUTS):
        theirs, ours = _pyramid_pooling_pair(device)
        side = (size + 7) // 8
        x = torch.randn(plan.batch, 256, side, side, device=device).to(memory_format=LAYOUTS[layout])
        grad = torch.randn(plan.batch, 512, side, side, device=device).to(memory_format=LAYOUTS[layout])
        layers: dict[str, Layer] = {PEER: theirs, OURS: ours}
        what = {"subject": "pyramid_pooling", "shape": "x".join(map(str, x.shape)), "dtype": "fp32", "layout": layout}
        what["compile"] = "none"
        note = {OURS: {"note": "difference to smp's with align_corners=False, the map first"}}
        aligned = partial(_as_ours, theirs)

        forwards: dict[str, Run] = {name: partial(forward, layer, x) for name, layer in layers.items()}
        match = Match.of((forward(aligned, x),), (forward(ours, x),))
        yield from compare(plan, {**what, "mode": "forward"}, forwards, match, cells=note)

        both: dict[str, Run] = {name: partial(forward_backward, layer, x, grad) for name, layer in layers.items()}
        match = Match.of(forward_backward(aligned, x, grad), forward_backward(ours, x, grad))
        yield from compare(plan, {**what, "mode": "forward and backward"}, both, match, cells=note)


def import_rows(plan: Plan) -> Iterator[Row]:
    """Time imports in fresh processes, minus the time of Python itself."""
    codes = {"python": "pass", PEER: "import segmentation_models_pytorch", OURS: "import saltzoo"}
    runs: dict[str, Run] = {
        name: partial(subprocess.run, [sys.executable, "-c", code], check=True) for name, code in codes.items()
    }
    times = alternate(runs, rounds=plan.rounds, device=torch.device("cpu"), turn_s=0)
    python = times.pop("python")
    beyond = {name: [t - p for t, p in zip(values, python, strict=True)] for name, values in times.items()}
    yield from timed_rows(plan, {"subject": "import", "mode": "beyond Python itself"}, beyond, None)


def _scse_pair(device: torch.device) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    theirs, ours = SCSEModule(64, reduction=16), SCSE(64, reduction=16)
    # Same order in both: squeeze, excite, spatial. SMP has 1x1 convolutions where we have linear layers.
    _copy_parameters(theirs, ours)
    return theirs.to(device), ours.to(device)


def _bam_pair(device: torch.device) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    theirs, ours = PlainBAM(64), BAM(64)
    _copy_parameters(theirs, ours)
    return theirs.to(device), ours.to(device)


@torch.no_grad()
def _copy_parameters(theirs: nn.Module, ours: nn.Module) -> None:
    for their_weight, our_weight in zip(theirs.parameters(), ours.parameters(), strict=True):
        our_weight.copy_(their_weight.reshape(our_weight.shape))


class PlainBAM(nn.Module):
    """BAM (arXiv 1807.06514) written as its formula, `x (1 + sigmoid(c + s))`, with torch modules.

    Args:
        channels: channels C of the map; both branches narrow to C / 16.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = channels // 16
        self.channel = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            *(nn.Linear(channels, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU()),
            *(nn.Linear(hidden, channels, bias=False), nn.BatchNorm1d(channels)),
        )
        self.pixel = nn.Sequential(
            *(nn.Conv2d(channels, hidden, 1, bias=False), nn.BatchNorm2d(hidden), nn.ReLU()),
            *(nn.Conv2d(hidden, hidden, 3, padding=4, dilation=4, bias=False), nn.BatchNorm2d(hidden), nn.ReLU()),
            *(nn.Conv2d(hidden, hidden, 3, padding=4, dilation=4, bias=False), nn.BatchNorm2d(hidden), nn.ReLU()),
            *(nn.Conv2d(hidden, 1, 1, bias=False), nn.BatchNorm2d(1)),
        )

    def forward(self, x: Tensor) -> Tensor:
        """N C H W -> N C H W."""
        return x * (1 + torch.sigmoid(self.channel(x)[:, :, None, None] + self.pixel(x)))


@torch.no_grad()
def _pyramid_pooling_pair(device: torch.device) -> tuple[nn.Module, PyramidPooling]:
    torch.manual_seed(0)
    theirs, ours = PSPModule(256), PyramidPooling(256)
    for block, branch in zip(theirs.blocks, ours.branches, strict=True):
        conv, norm, _ = block.pool[1]
        branch.conv.weight.copy_(conv.weight)  # type: ignore[union-attr, operator]  # a ConvNormAct
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.normal_(norm.running_mean, std=0.1)  # type: ignore[arg-type]  # it tracks them
            branch.norm.load_state_dict(norm.state_dict())  # type: ignore[union-attr]
        else:  # only a bias: a norm with initial statistics divides by sqrt(1 + eps)
            branch.norm.weight.fill_((1 + branch.norm.eps) ** 0.5)  # type: ignore[union-attr, operator]
            branch.norm.bias.copy_(conv.bias)  # type: ignore[union-attr, operator]
    return theirs.to(device).eval(), ours.to(device).eval()


def _as_ours(theirs: nn.Module, x: Tensor) -> Tensor:
    """Apply SMP's pyramid pooling with the map first and `align_corners=False`."""
    maps = [
        F.interpolate(block.pool(x), size=x.shape[-2:], mode="bilinear", align_corners=False)
        for block in theirs.blocks  # type: ignore[union-attr]
    ]
    return torch.cat([x, *maps], dim=1)
