"""Unused parameters of a network: those that none of its returned maps depends on."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from .trace import Trace, ancestors


def find_unused(network: nn.Module, trace: Trace, maps: Iterable[int]) -> tuple[str, ...]:
    """Return the names of modules, and of single parameters of other modules, that none of the maps depends on.

    Args:
        network: network that was traced.
        trace: trace of the network.
        maps: indices of the maps of the trace that are used.
    """
    nodes = ancestors(trace.maps[index].grad_fn for index in maps)
    used = {id(node.variable) for node in nodes if hasattr(node, "variable")}
    unused = {name for name, parameter in network.named_parameters() if id(parameter) not in used}
    modules: list[str] = []
    for name, module in network.named_modules():  # outer modules before inner ones
        inside = {f"{name}.{parameter}" for parameter, _ in module.named_parameters()}
        if inside and inside <= unused:
            modules.append(name)
            unused -= inside
    return (*modules, *sorted(unused))


def remove_unused(network: nn.Module, names: Iterable[str]) -> None:
    """Remove the modules and parameters that `find_unused` named; the keys of all others stay."""
    modules = dict(network.named_modules())
    for name in names:
        if name in modules:
            network.set_submodule(name, nn.Identity())
        else:
            owner, _, parameter = name.rpartition(".")
            setattr(network.get_submodule(owner), parameter, None)
