"""Trace of a network: which module made each map, and where a module can be inserted into the path between maps.

It relies on the graph of autograd, and not on the names of networks or modules.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

Node = Any  # a node of autograd's graph; torch types its edges too loosely


@dataclass(frozen=True)
class Call:
    """One call of a module.

    Attributes:
        name: name of the module.
        input_shape: shape of its first argument; () if that is not a tensor.
        shapes: shapes of its outputs.
        nodes: autograd nodes of its outputs.
        made: whether all outputs were computed inside the call. An identity, such as many a shortcut, computes
            nothing: other modules read its output without passing through it.
    """

    name: str
    input_shape: tuple[int, ...]
    shapes: tuple[tuple[int, ...], ...]
    nodes: tuple[Node, ...]
    made: bool


@dataclass(frozen=True)
class Trace:
    """Record of one run of a network.

    Attributes:
        size: H and W of the image.
        in_chans: channels of the image.
        source: autograd node of the image.
        calls: calls of modules in the order in which they ended: an outer module after its inner ones.
        maps: maps that the network returned.
    """

    size: tuple[int, int]
    in_chans: int
    source: Node
    calls: tuple[Call, ...]
    maps: tuple[Tensor, ...]


@dataclass(frozen=True)
class Site:
    """A position in the path of a network where a module can be inserted.

    Attributes:
        module: name of the module whose output the inserted module replaces.
        channels: channels of the map there.
        channels_last: whether the map is N H W C.
    """

    module: str
    channels: int
    channels_last: bool


def trace(network: nn.Module, size: tuple[int, int], *, in_chans: int) -> Trace:
    """Run a network once and record all calls. On the meta device this needs no memory and no arithmetic.

    Args:
        network: network from an image to a list of maps, in evaluation mode.
        size: H and W of the image.
        in_chans: channels of the image.
    """
    calls: list[Call] = []
    inputs: list[set[Node]] = []
    hooks = []
    for name, module in network.named_modules():
        hooks.append(module.register_forward_pre_hook(partial(_push_inputs, inputs), with_kwargs=True))
        hooks.append(module.register_forward_hook(partial(_record, calls, inputs, name)))
    try:
        with torch.inference_mode(False), torch.enable_grad():
            leaf = torch.zeros(1, in_chans, *size, device=next(network.parameters()).device, requires_grad=True)
            image = leaf * 1  # a network may write into its image, but not into a leaf of autograd's graph
            source = image.grad_fn
            maps = tuple(network(image))
    finally:
        for hook in hooks:
            hook.remove()
    return Trace(size, in_chans, source, tuple(calls), maps)


def _push_inputs(inputs: list[set[Node]], _module: nn.Module, args: Any, kwargs: Any) -> None:
    # Recorded before the call: an input that the module modifies in place has another node afterwards.
    inputs.append({one.grad_fn for one in tree_leaves((args, kwargs)) if isinstance(one, Tensor)})


def _record(calls: list[Call], inputs: list[set[Node]], name: str, _module: nn.Module, args: Any, output: Any) -> None:
    before = inputs.pop()
    outputs = output if isinstance(output, tuple | list) else (output,)
    if name and all(isinstance(one, Tensor) for one in outputs):
        input_shape = tuple(args[0].shape) if args and isinstance(args[0], Tensor) else ()
        # Recorded now: a later in-place operation on the output gives it another node.
        nodes = tuple(one.grad_fn for one in outputs if one.grad_fn is not None)
        shapes = tuple(tuple(one.shape) for one in outputs)
        calls.append(Call(name, input_shape, shapes, nodes, before.isdisjoint(nodes)))


def reduction(image: Sequence[int], size: Sequence[int]) -> int:
    """Return the factor by which a map is smaller than the image, rounded to a power of two.

    Rounding is needed because padding, or its absence, changes sizes by a few pixels.

    Example:
        >>> reduction((299, 299), (147, 147)), reduction((299, 299), (8, 8))
        (2, 32)
    """
    return int(2 ** round(math.log2(image[0] * image[1] / (size[0] * size[1])) / 2))


def find_site(trace: Trace, maps: Sequence[int], position: int, *, channels_last: bool) -> Site | None:
    """Return the end of the stage that made a map: a module inserted there affects this map and all coarser ones.

    It is the last output of a module that satisfies both conditions:

    - every path from the image to this map and to the coarser ones passes through it,
    - no finer map depends on it.

    It is not always the map itself: some networks return an activation inside the next block.

    Args:
        trace: trace of the network.
        maps: indices of the maps of the trace that are used, finest first.
        position: position of the map in `maps`.
        channels_last: whether the maps are N H W C.

    Returns:
        The site, or None if the path has no map of this size there.
    """
    ends = [trace.maps[index].grad_fn for index in maps]
    shape = trace.maps[maps[position]].shape
    size = tuple(shape[1:3] if channels_last else shape[2:4])
    of_finer, of_this = ancestors(ends[:position]), ancestors(ends[position : position + 1])
    times_called = Counter(call.name for call in trace.calls)
    for call in reversed(trace.calls):
        nodes = set(call.nodes)
        usable = call.made and times_called[call.name] == 1 and len(call.nodes) == len(call.shapes)
        if (
            usable
            and nodes <= of_this
            and not nodes & of_finer
            and _all_paths_cross(nodes, ends[position:], trace.source)
        ):
            site = _site(call, size)
            return site if site and _is_end(site, nodes, ends[position:], trace.source) else None
    return None


def _all_paths_cross(nodes: AbstractSet[Node], ends: Iterable[Node], source: Node) -> bool:
    """Return whether every path from the image to the ends crosses one of the nodes, and none of them is redundant."""
    if source in ancestors(ends, avoiding=nodes):
        return False
    # A stage may return two maps, one of which it only passes on.
    return len(nodes) == 1 or all(source in ancestors(ends, avoiding=nodes - {node}) for node in nodes)


def _site(call: Call, size: tuple[int, ...]) -> Site | None:
    """Return the site at the output of a call if that is a map of `size`, in either layout."""
    if all(len(shape) == 4 and shape[2:] == size for shape in call.shapes):
        return Site(call.name, sum(shape[1] for shape in call.shapes), channels_last=False)
    if len(call.shapes) == 1 and len(call.shapes[0]) == 4 and call.shapes[0][1:3] == size:
        return Site(call.name, call.shapes[0][3], channels_last=True)
    return None


def _is_end(site: Site, nodes: AbstractSet[Node], ends: Sequence[Node], source: Node) -> bool:
    """Return whether no convolution or linear layer lies between a site and the map: else it is no end of a stage."""
    if source in ancestors(ends[1:], avoiding={ends[0]}):  # the map is a branch: the coarser maps do not depend on it
        return True
    between = ancestors(ends[:1], avoiding=nodes)
    # A norm has one value for each channel; a convolution or a linear layer has more.
    return all(node.variable.numel() <= site.channels for node in between if hasattr(node, "variable"))


def ancestors(ends: Iterable[Node], *, avoiding: AbstractSet[Node] = frozenset()) -> set[Node]:
    """Return the nodes that `ends` depend on, `ends` included, without passing through the nodes to avoid."""
    waiting, seen = list(ends), set(avoiding)
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            waiting += [before for before, _ in node.next_functions]
    return seen - avoiding
