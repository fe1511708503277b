"""Split the cost of a call among the parts of a network.

A part is a module, or all modules of one kind. Work outside every part is the rest, so the shares sum to the whole. A
part inside another, such as attention in a stage, is counted separately from it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from saltzoo.benchmark.timing import Run
from saltzoo.layers import BAM, CBAM, SCSE, ChannelSE, GuidedUpsample, PyramidPooling

REST = "rest"

KINDS: dict[str, tuple[type[nn.Module], ...]] = {
    "all attention": (SCSE, BAM, CBAM, ChannelSE),
    "pyramid pooling": (PyramidPooling,),
    "guided upsampling": (GuidedUpsample,),
}
"""Kinds of modules that form one part each, wherever they are."""


class Meter(NamedTuple):
    """A quantity that grows while a network works.

    Attributes:
        read: function that returns the current reading.
        between: function that returns the amount spent between an earlier and a later reading.
    """

    read: Callable[[], Any]
    between: Callable[[Any, Any], float]


def clock(device: torch.device) -> Meter:
    """Return a meter of seconds; on a GPU it uses CUDA events, which need no synchronisation until they are read."""
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
    """Return what each part of a network spends in a call, including its backward pass if the call has one.

    Args:
        call: function that runs the network, once or more.
        network: the network, not compiled.
        parts: module -> name of its part.
        meter: meter of the quantity to split.

    Returns:
        Name of a part -> amount that it spent, REST last. The amounts sum to that of the call.
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
    """Call `pass_to(part)` whenever the work passes from one part to another.

    The backward pass visits the nodes of the graph in the reverse order of their creation. So the backward pass of a
    part begins at the node of its output and ends at the node of its input, which belongs to the part before it.
    """
    inside = [REST]

    def at_node_of(value: object, part: str) -> None:
        for tensor in tensors(value):
            node = tensor.grad_fn
            if node is None:
                continue
            known: dict[Any, Any] = node.metadata  # type: ignore[assignment]  # a property, which torch types as a method
            # The first part wins: an output may also be the input of the next part, or the output of the enclosing one.
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
    """Yield all tensors in nested tuples and lists."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for item in value:
            yield from tensors(item)


def parts_of(network: nn.Module) -> dict[nn.Module, str]:
    """Return the parts of a Segmenter: each step of encoder and decoder, each head, and the kinds of KINDS."""
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


def operations(call: Run, network: nn.Module, parts: Mapping[nn.Module, str]) -> dict[str, float]:
    """Return the floating-point operations of each part, as `saltzoo.cost` counts them."""
    with FlopCounterMode(display=False) as counter:
        return split(call, network, parts, Meter(counter.get_total_flops, lambda start, stop: stop - start))
