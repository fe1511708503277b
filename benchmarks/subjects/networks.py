"""Whole networks compared with those of segmentation_models_pytorch (SMP): inference and training step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import product

import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F
from measure.comparison import OURS, PEER, Match, Plan, batch, calibrate, compare
from torch import Tensor, nn

import saltzoo
from saltzoo.benchmark.memory import step_mib
from saltzoo.benchmark.report import Row
from saltzoo.benchmark.steps import LAYOUTS, inference, training
from saltzoo.convert import from_smp

DEFAULT = "saltzoo unet_resnet34_scse"

_PSPNET: dict[str, Row] = {
    "unet resnet34, pyramid in the center": {"name": "unet", "encoder": "resnet34", "center": "pyramid"},
    "pspunet_small": {"name": "pspunet_small"},
    "pspunet_small_scse": {"name": "pspunet_small_scse"},
    "pspunet_small_scse_gum": {"name": "pspunet_small_scse_gum"},
    "pspunet_small_scse_gum, guide_channels=32": {"name": "pspunet_small_scse_gum", "guide_channels": 32},
}
_FPN: dict[str, Row] = {
    "unet resnet34, half blocks": {"name": "unet", "encoder": "resnet34", "decoder_block": "half"},
    "saltnet_m": {"name": "saltnet_m"},
}
"""The most similar models of saltzoo: contender -> arguments of `create_model`."""


def unet_rows(plan: Plan) -> Iterator[Row]:
    """Time SMP's Unet, the same network converted by `from_smp`, and our default U-Net."""
    for size, dtype, layout in product(plan.sizes, ("fp32", "bf16"), ("channels_last", "nchw")):
        images, masks = batch(plan, size, layout)
        networks = _unets(plan, images, layout)
        what = {"subject": "unet", "shape": _shape(images), "dtype": dtype, "layout": layout}

        forwards = {name: inference(network, images, dtype) for name, network in networks.items()}
        match = Match.of((forwards[PEER]().float(),), (forwards[OURS]().float(),))
        if dtype != "fp32":
            exact = inference(networks[PEER], images, "fp32")()
            match = replace(match, rounding=Match.of((exact,), (forwards[PEER]().float(),)).difference)
        yield from compare(plan, {**what, "mode": "inference"}, forwards, match)

        steps = {name: training(network, images, masks, dtype) for name, network in networks.items()}
        results = {name: (steps[name](), _first_gradient(networks[name])) for name in (PEER, OURS)}
        match = Match.of(results[PEER], results[OURS])
        steps[DEFAULT]()
        memory: dict[str, Row] = {
            name: {"peak_mib": round(step_mib(steps[name], networks[name], torch.device(plan.device)))}
            for name in networks
        }
        yield from compare(plan, {**what, "mode": "training step"}, steps, match, cells=memory)


def pspnet_rows(plan: Plan) -> Iterator[Row]:
    """Time SMP's PSPNet on resnet34 beside our networks with pyramid pooling."""
    yield from _unlike_rows(plan, "pspnet", smp.PSPNet, _PSPNET)


def fpn_rows(plan: Plan) -> Iterator[Row]:
    """Time SMP's FPN on resnet34 beside our networks with an equally light decoder."""
    yield from _unlike_rows(plan, "fpn", smp.FPN, _FPN)


class Padded(nn.Module):
    """A network that accepts only sizes divisible by its stride, with the padding that it needs.

    Args:
        network: network of SMP.

    Attributes:
        in_chans: number of channels of the image.
    """

    in_chans = 1

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.stride = int(network.encoder.output_stride)  # type: ignore[union-attr, arg-type]

    def padded(self, size: int) -> int:
        """Return the padded size."""
        return size + -size % self.stride

    def forward(self, x: Tensor) -> Tensor:
        """Map images N 1 H W to logits N 1 H W."""
        height, width = x.shape[-2:]
        x = F.pad(x, (0, self.padded(width) - width, 0, self.padded(height) - height))
        return self.network(x)[..., :height, :width]


def _unlike_rows(plan: Plan, subject: str, make: Callable[..., nn.Module], ours: Mapping[str, Row]) -> Iterator[Row]:
    """Time networks that compute different things, and report their size."""
    device = torch.device(plan.device)
    for size, dtype in product(plan.sizes, ("fp32", "bf16")):
        images, masks = batch(plan, size, "channels_last")
        peer = Padded(make("resnet34", encoder_weights=None, in_channels=1, classes=1))
        own = {name: saltzoo.create_model(**options) for name, options in ours.items()}
        networks: dict[str, nn.Module] = {PEER: peer, **own}
        for network in networks.values():
            network.to(device).to(memory_format=torch.channels_last)
            calibrate(network, images)
        what = {"subject": subject, "shape": _shape(images), "dtype": dtype, "layout": "channels_last"}

        note = _peer_note(peer, images)
        plain: dict[str, nn.Module] = {PEER: peer, **{name: network.mask_only() for name, network in own.items()}}
        forwards = {name: inference(network, images, dtype) for name, network in plain.items()}
        cells = {name: _cost(network, size) for name, network in plain.items()}
        for name in networks:
            cells[name]["note"] = note if name == PEER else "another network"
        yield from compare(plan, {**what, "mode": "inference"}, forwards, None, cells=cells)

        steps = {name: training(network, images, masks, dtype) for name, network in networks.items()}
        for name, step in steps.items():
            step()  # creates the optimizer's state, which must not count
            cells[name] |= {**_cost(networks[name], size), "peak_mib": round(step_mib(step, networks[name], device))}
        yield from compare(plan, {**what, "mode": "training step"}, steps, None, cells=cells)


def _peer_note(peer: Padded, images: Tensor) -> str:
    """Return what a reader must know about SMP's network before comparing it: padding and unused parameters."""
    notes = []
    size = images.shape[-1]
    if peer.padded(size) != size:
        notes.append(f"padded to {peer.padded(size)} x {peer.padded(size)}, as it has to be")
    peer.train()(images).sum().backward()
    unused = sum(parameter.numel() for parameter in peer.parameters() if parameter.grad is None)
    peer.zero_grad(set_to_none=True)
    if unused:
        notes.append(f"{unused} of its parameters take no part")
    return "; ".join(notes)


def _cost(network: nn.Module, size: int) -> Row:
    cost = saltzoo.cost(network, (size, size))  # type: ignore[arg-type]  # SMP's have all that it needs
    return {"parameters": cost.parameters, "gflop": float(f"{cost.flops / 1e9:.4g}")}


def _shape(images: Tensor) -> str:
    return "x".join(map(str, images.shape))


def _unets(plan: Plan, images: Tensor, layout: str) -> dict[str, nn.Module]:
    """Return the three networks by name; the first two have the same weights."""
    torch.manual_seed(0)
    theirs = smp.Unet("resnet34", encoder_weights=None, in_channels=1, classes=1, decoder_attention_type="scse").to(
        plan.device
    )
    calibrate(theirs, images)
    default = saltzoo.create_model("unet_resnet34_scse").to(plan.device)
    calibrate(default, images)
    networks = {PEER: theirs, OURS: from_smp(theirs).to(plan.device), DEFAULT: default}
    for network in networks.values():
        network.to(memory_format=LAYOUTS[layout])
    return networks


def _first_gradient(network: nn.Module) -> Tensor:
    """Return the gradient of the first filters, which depends on the whole backward pass."""
    gradient = next(network.parameters()).grad
    if gradient is None:
        raise RuntimeError("the training step left no gradient at the first filters")
    return gradient.clone()
