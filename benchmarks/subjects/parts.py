"""Where the time of a network goes: FRRN and the pyramid-pooling U-Net, part by part."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial

import torch
from measure.comparison import Plan, batch
from measure.split import clock, operations, parts_of, split, tensors
from torch import Tensor, nn

import saltzoo
from saltzoo.benchmark.report import Row
from saltzoo.benchmark.steps import inference
from saltzoo.benchmark.timing import Run, Spread, synchronize

WHOLE = "whole"
COLUMNS = ("subject", "model", "mode", "shape", "part", "ms", "share", "gflop")

_FRRN: dict[str, Row] = {"frrn_a": {}, "frrn_b": {}}
_PSPUNET: dict[str, Row] = {
    "pspunet_small": {},
    "pspunet_small_scse": {},
    "pspunet_small_scse_gum": {},
    "pspunet_small_scse_gum, guide_channels=32": {"guide_channels": 32},
}
"""Model -> options that differ from its defaults."""


def frrn_rows(plan: Plan) -> Iterator[Row]:
    """Time the parts of FRRN A and B, whose two streams work at every size."""
    yield from _rows(plan, "frrn", _FRRN)


def pspunet_rows(plan: Plan) -> Iterator[Row]:
    """Time the parts of pspunet_small: plain, with attention, with guided upsampling, and with a cheaper form of it."""
    yield from _rows(plan, "pspunet", _PSPUNET)


def _rows(plan: Plan, subject: str, models: Mapping[str, Row]) -> Iterator[Row]:
    for size in plan.sizes:
        images, _ = batch(plan, size, "channels_last")
        networks = {}
        for name, options in models.items():
            torch.manual_seed(0)
            network = saltzoo.create_model(name.partition(",")[0], **options)
            networks[name] = network.to(plan.device).to(memory_format=torch.channels_last)
        plain = {name: network.mask_only() for name, network in networks.items()}
        infer: dict[str, Run] = {name: inference(network, images, "fp32") for name, network in plain.items()}
        what = {
            "subject": subject,
            "shape": f"{plan.batch}x1x{size}x{size}",
            "dtype": "fp32",
            "layout": "channels_last",
        }
        yield from _split_rows(plan, {**what, "mode": "inference"}, plain, infer)

        for network in networks.values():
            network.train()
        both: dict[str, Run] = {name: partial(_forward_backward, network, images) for name, network in networks.items()}
        yield from _split_rows(plan, {**what, "mode": "forward and backward"}, networks, both)


def _forward_backward(network: nn.Module, images: Tensor) -> None:
    """Run both passes of every output of a network, without a loss, which is not part of it."""
    network.zero_grad(set_to_none=True)
    outputs = list(tensors(network(images)))
    torch.autograd.backward(outputs, [torch.ones_like(output) for output in outputs])


def _split_rows(plan: Plan, what: Row, networks: Mapping[str, nn.Module], calls: Mapping[str, Run]) -> Iterator[Row]:
    """Call every network once in each round, in an order that reverses from round to round."""
    device = torch.device(plan.device)
    parts = {name: parts_of(network) for name, network in networks.items()}
    meter = clock(device)
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in networks}
    for _ in range(2):  # picks kernels, fills caches
        for call in calls.values():
            call()
    for index in range(plan.rounds):
        for name in list(networks)[:: -1 if index % 2 else 1]:
            synchronize(device)
            rounds[name].append(split(calls[name], networks[name], parts[name], meter))
    for name, spent in rounds.items():
        flops = operations(calls[name], networks[name], parts[name])
        print(f"{name}, {', '.join(what.values())}: {sum(flops.values()) / plan.batch / 1e9:.3g} GFLOP", flush=True)
        for part in (WHOLE, *flops):
            seconds = [sum(each.values()) if part == WHOLE else each[part] for each in spent]
            shares = [value / sum(each.values()) for value, each in zip(seconds, spent, strict=True)]
            spent_flops = sum(flops.values()) if part == WHOLE else flops[part]
            yield {
                "subject": what["subject"],
                "model": name,
                **{key: what[key] for key in ("mode", "shape", "dtype", "layout")},
                "part": part,
                **Spread.of([1e3 * value for value in seconds]).cells("ms"),
                **Spread.of(shares).cells("share"),
                "gflop": float(f"{spent_flops / plan.batch / 1e9:.4g}"),  # per image
                "rounds": plan.rounds,
            }
