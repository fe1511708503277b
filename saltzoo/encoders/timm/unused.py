"""What a network has no use for: parameters that none of its maps depends on, and the modules that hold them."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from .trace import Trace, behind


def unused(network: nn.Module, trace: Trace, maps: Iterable[int]) -> tuple[str, ...]:
    """Names of the modules, and of single parameters in others, that none of these maps depends on."""
    nodes = behind(trace.maps[index].grad_fn for index in maps)
    used = {id(node.variable) for node in nodes if hasattr(node, "variable")}
    idle = {name for name, parameter in network.named_parameters() if id(parameter) not in used}
    found: list[str] = []
    for name, module in network.named_modules():  # an outer one before its inner ones
        own = {f"{name}.{parameter}" for parameter, _ in module.named_parameters()}
        if own and own <= idle:
            found.append(name)
            idle -= own
    return (*found, *sorted(idle))


def remove(network: nn.Module, names: Iterable[str]) -> None:
    """Takes out what `unused` named; keys of all else stay."""
    modules = dict(network.named_modules())
    for name in names:
        if name in modules:
            network.set_submodule(name, nn.Identity())
        else:
            owner, _, parameter = name.rpartition(".")
            setattr(network.get_submodule(owner), parameter, None)
