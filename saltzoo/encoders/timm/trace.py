"""A network watched as it runs: where its maps come from, and where a module can stand in their path.

Nothing here goes by a network's name or by the names of its modules: autograd's graph says what depends on what.
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

Node = Any  # of autograd's graph; torch types its edges too loosely


@dataclass(frozen=True)
class Call:
    """One call of a module.

    Attributes:
        name: of the module.
        entered: shape of its first argument; () if that is no tensor.
        shapes: shapes of what it put out.
        nodes: autograd's nodes that made it.
        made: all of it was made inside the call. An identity, such as the shortcut of many a block, makes nothing:
            what it puts out is also read by others, past it.
    """

    name: str
    entered: tuple[int, ...]
    shapes: tuple[tuple[int, ...], ...]
    nodes: tuple[Node, ...]
    made: bool


@dataclass(frozen=True)
class Trace:
    """What a network did with one image.

    Attributes:
        size: H and W of the image.
        source: autograd's node of the image.
        calls: of its modules, in the order in which they ended: an outer module after its inner ones.
        maps: what the network returned.
    """

    size: tuple[int, int]
    source: Node
    calls: tuple[Call, ...]
    maps: tuple[Tensor, ...]


@dataclass(frozen=True)
class Site:
    """A place in the path of a network.

    Attributes:
        module: what stands there takes this module's output, and hands on its own.
        channels: of the map there.
        channels_last: the map is N H W C.
    """

    module: str
    channels: int
    channels_last: bool


def trace(network: nn.Module, size: tuple[int, int], *, in_chans: int) -> Trace:
    """Runs a network once and writes down all calls; on the meta device that costs no memory and no arithmetic.

    Args:
        network: an image in, a list of maps out; in evaluation mode.
        size: H and W of the image.
        in_chans: its channels.
    """
    calls: list[Call] = []
    given: list[set[Node]] = []
    hooks = []
    for name, module in network.named_modules():
        hooks.append(module.register_forward_pre_hook(partial(_enter, given), with_kwargs=True))
        hooks.append(module.register_forward_hook(partial(_record, calls, given, name)))
    try:
        with torch.inference_mode(False), torch.enable_grad():
            leaf = torch.zeros(1, in_chans, *size, device=next(network.parameters()).device, requires_grad=True)
            image = leaf * 1  # a network may write into its image, but not into a leaf of autograd's graph
            source = image.grad_fn
            maps = tuple(network(image))
    finally:
        for hook in hooks:
            hook.remove()
    return Trace(size, source, tuple(calls), maps)


def _enter(given: list[set[Node]], _module: nn.Module, args: Any, kwargs: Any) -> None:
    # Taken before the call: if it writes into its input, that has another node afterwards.
    given.append({one.grad_fn for one in tree_leaves((args, kwargs)) if isinstance(one, Tensor)})


def _record(calls: list[Call], given: list[set[Node]], name: str, _module: nn.Module, args: Any, output: Any) -> None:
    before = given.pop()
    outputs = output if isinstance(output, tuple | list) else (output,)
    if name and all(isinstance(one, Tensor) for one in outputs):
        entered = tuple(args[0].shape) if args and isinstance(args[0], Tensor) else ()
        # Taken now: whoever writes into the output later makes another node of it.
        nodes = tuple(one.grad_fn for one in outputs if one.grad_fn is not None)
        calls.append(Call(name, entered, tuple(tuple(one.shape) for one in outputs), nodes, before.isdisjoint(nodes)))


def reduction(image: Sequence[int], size: Sequence[int]) -> int:
    """How many times smaller than the image a map is, as a power of two: padding or none moves it a little.

    Example:
        >>> reduction((299, 299), (147, 147)), reduction((299, 299), (8, 8))
        (2, 32)
    """
    return int(2 ** round(math.log2(image[0] * image[1] / (size[0] * size[1])) / 2))


def find_site(trace: Trace, maps: Sequence[int], position: int, *, channels_last: bool) -> Site | None:
    """The end of the stage that a map comes from: what stands there is seen by this map and by all coarser ones.

    That is the last output of a module through which everything that this map and the coarser ones know of the image
    has gone, and that no finer map depends on. It may be the map itself, or what the map is a branch of: some
    networks return an activation inside the next block.

    Args:
        trace: of the network.
        maps: which of the trace's maps are in use, finest first.
        position: of the map, in `maps`.
        channels_last: the maps are N H W C.

    Returns:
        None if the path has no map of this size there.
    """
    ends = [trace.maps[index].grad_fn for index in maps]
    here = trace.maps[maps[position]].shape
    size = tuple(here[1:3] if channels_last else here[2:4])
    finer, known = behind(ends[:position]), behind(ends[position : position + 1])
    called = Counter(call.name for call in trace.calls)
    for call in reversed(trace.calls):
        nodes = set(call.nodes)
        once = called[call.name] == 1 and len(call.nodes) == len(call.shapes)
        if once and call.made and nodes <= known and not nodes & finer and _cuts(nodes, ends[position:], trace.source):
            site = _site(call, size)
            return site if site and _is_end(site, nodes, ends[position:], trace.source) else None
    return None


def _cuts(nodes: AbstractSet[Node], ends: Iterable[Node], source: Node) -> bool:
    """Whether every way from the image to the ends goes through these nodes, and none of the nodes is idle."""
    if source in behind(ends, avoiding=nodes):
        return False
    # A stage may hand on two maps of which one only passes by.
    return len(nodes) == 1 or all(source in behind(ends, avoiding=nodes - {node}) for node in nodes)


def _site(call: Call, size: tuple[int, ...]) -> Site | None:
    if all(len(shape) == 4 and shape[2:] == size for shape in call.shapes):
        return Site(call.name, sum(shape[1] for shape in call.shapes), channels_last=False)
    if len(call.shapes) == 1 and len(call.shapes[0]) == 4 and call.shapes[0][1:3] == size:
        return Site(call.name, call.shapes[0][3], channels_last=True)
    return None


def _is_end(site: Site, nodes: AbstractSet[Node], ends: Sequence[Node], source: Node) -> bool:
    """Whether no work of the path lies between a site and the map: else it is the beginning of the stage."""
    if source in behind(ends[1:], avoiding={ends[0]}):  # the map is a branch, and the path goes on from the site
        return True
    between = behind(ends[:1], avoiding=nodes)
    # A norm has a value a channel; a convolution or a linear layer has more.
    return all(node.variable.numel() <= site.channels for node in between if hasattr(node, "variable"))


def behind(ends: Iterable[Node], *, avoiding: AbstractSet[Node] = frozenset()) -> set[Node]:
    """The nodes that these depend on, themselves included, as far as one comes without those to avoid."""
    waiting, seen = list(ends), set(avoiding)
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            waiting += [before for before, _ in node.next_functions]
    return seen - avoiding
