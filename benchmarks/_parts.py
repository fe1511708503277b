"""Where a network's time goes: a call split among its parts, and the networks that are measured so.

A part is a module, or all modules of one kind. What runs outside of every part is the rest, so the shares sum to the
whole. A part inside another, such as attention in a stage, is counted apart from it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from _compare import Plan, batch
from _measure import Row, Run, Spread, inference, synchronize
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import saltzoo
from saltzoo.layers import BAM, CBAM, SCSE, ChannelSE, GuidedUpsample, PyramidPooling

REST = "rest"
WHOLE = "whole"

KINDS: dict[str, tuple[type[nn.Module], ...]] = {
    "all attention": (SCSE, BAM, CBAM, ChannelSE),
    "pyramid pooling": (PyramidPooling,),
    "guided upsampling": (GuidedUpsample,),
}
"""Modules that are one part wherever they stand."""

COLUMNS = ("subject", "model", "mode", "shape", "part", "ms", "share", "gflop")

_FRRN: dict[str, Row] = {"frrn_a": {}, "frrn_b": {}}
_PSPUNET: dict[str, Row] = {
    "pspunet_small": {},
    "pspunet_small_scse": {},
    "pspunet_small_scse_gum": {},
    "pspunet_small_scse_gum, guide_channels=32": {"guide_channels": 32},
}
"""Model, and what it is built with where that is not its own: name -> options."""


class Meter(NamedTuple):
    """Something that grows while a network works.

    Attributes:
        read: where it stands.
        between: (earlier, later) reading -> what was spent.
    """

    read: Callable[[], Any]
    between: Callable[[Any, Any], float]


def clock(device: torch.device) -> Meter:
    """Seconds; on a GPU those of its own clock, which nothing has to wait for until they are read."""
    if device.type != "cuda":
        return Meter(time.perf_counter, lambda start, stop: stop - start)

    def read() -> torch.cuda.Event:
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def between(start: torch.cuda.Event, stop: torch.cuda.Event) -> float:
        stop.synchronize()
        return start.elapsed_time(stop) / 1e3

    return Meter(read, between)


def split(call: Run, network: nn.Module, parts: Mapping[nn.Module, str], meter: Meter) -> dict[str, float]:
    """What each part of a network spends in a call, backward pass included where the call has one.

    Args:
        call: runs the network, once or more.
        network: that network; not compiled.
        parts: module -> name of its part.
        meter: of what is spent.

    Returns:
        Name of a part -> what it spent; REST last. They sum to what the call spent.
    """
    passes: list[tuple[str, Any]] = []

    def pass_to(part: str) -> None:
        passes.append((part, meter.read()))

    with _watched(network, parts, pass_to):
        pass_to(REST)
        call()
        pass_to(REST)
    spent = dict.fromkeys([*parts.values(), REST], 0.0)
    for (part, start), (_, stop) in pairwise(passes):
        spent[part] += meter.between(start, stop)
    return spent


@contextmanager
def _watched(network: nn.Module, parts: Mapping[nn.Module, str], pass_to: Callable[[str], None]) -> Iterator[None]:
    """Says `pass_to(part)` whenever the work passes from one part to another.

    The backward pass runs through the nodes of the graph in the reverse of the order in which they were made. So a
    part's backward pass begins at the node of its output, and ends at that of its input, which belongs to whatever
    was at work before.
    """
    inside = [REST]

    def at_node_of(value: object, part: str) -> None:
        for tensor in tensors(value):
            node = tensor.grad_fn
            if node is None:
                continue
            known: dict[Any, Any] = node.metadata  # type: ignore[assignment]  # a property, which torch types as a method
            # The first word counts: a part's output may be the next one's input, or that of the part around it.
            if "part" not in known:
                known["part"] = part
                node.register_prehook(lambda _: pass_to(part))

    def enter(module: nn.Module, args: object) -> None:
        at_node_of(args, inside[-1])
        inside.append(parts[module])
        pass_to(inside[-1])

    def leave(module: nn.Module, args: object, output: object) -> None:
        at_node_of(output, inside.pop())
        pass_to(inside[-1])

    hooks = [
        hook
        for module in network.modules()
        if module in parts
        for hook in (module.register_forward_pre_hook(enter), module.register_forward_hook(leave))
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def tensors(value: object) -> Iterator[Tensor]:
    """All tensors in nested tuples and lists."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for item in value:
            yield from tensors(item)


def parts_of(network: nn.Module) -> dict[nn.Module, str]:
    """The parts of a Segmenter: each step of its encoder and of its decoder, each head, and what KINDS names."""
    parts: dict[nn.Module, str] = {}
    for name, module in network.named_children():
        if name not in ("encoder", "decoder"):
            parts[module] = name
            continue
        for step_name, step in module.named_children():
            steps = list(step) if type(step) is nn.ModuleList else [step]
            for index, each in enumerate(steps):
                parts[each] = f"{name}.{step_name}" + (f".{index}" if len(steps) > 1 else "")
    for module in network.modules():
        for kind, types in KINDS.items():
            if isinstance(module, types):
                parts[module] = kind
    return {module: part for module, part in parts.items() if not isinstance(module, nn.Identity)}


def frrn_rows(plan: Plan) -> Iterator[Row]:
    """FRRN A and B: what the two streams cost at each size."""
    yield from _rows(plan, "frrn", _FRRN)


def pspunet_rows(plan: Plan) -> Iterator[Row]:
    """The small pyramid-pooling net, with attention, with guided upsampling, and with a cheaper form of that."""
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
    """Both passes of all that a network returns; without a loss, which is no part of it."""
    network.zero_grad(set_to_none=True)
    outputs = list(tensors(network(images)))
    torch.autograd.backward(outputs, [torch.ones_like(output) for output in outputs])


def _split_rows(plan: Plan, what: Row, networks: Mapping[str, nn.Module], calls: Mapping[str, Run]) -> Iterator[Row]:
    """In each round every network is called once, in an order that reverses from round to round."""
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
        operations = _operations(calls[name], networks[name], parts[name])
        print(
            f"{name}, {', '.join(what.values())}: {sum(operations.values()) / plan.batch / 1e9:.3g} GFLOP", flush=True
        )
        for part in (WHOLE, *operations):
            seconds = [sum(each.values()) if part == WHOLE else each[part] for each in spent]
            shares = [value / sum(each.values()) for value, each in zip(seconds, spent, strict=True)]
            flops = sum(operations.values()) if part == WHOLE else operations[part]
            yield {
                "subject": what["subject"],
                "model": name,
                **{key: what[key] for key in ("mode", "shape", "dtype", "layout")},
                "part": part,
                **Spread.of([1e3 * value for value in seconds]).cells("ms"),
                **Spread.of(shares).cells("share"),
                "gflop": float(f"{flops / plan.batch / 1e9:.4g}"),  # an image's
                "rounds": plan.rounds,
            }


def _operations(call: Run, network: nn.Module, parts: Mapping[nn.Module, str]) -> dict[str, float]:
    """Floating-point operations of each part, as `saltzoo.cost` counts them."""
    with FlopCounterMode(display=False) as counter:
        return split(call, network, parts, Meter(counter.get_total_flops, lambda start, stop: stop - start))
