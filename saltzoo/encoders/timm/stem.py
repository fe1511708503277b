"""The stem of a network with other strides: larger maps, the same weights."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from .trace import Trace, reduction

STEM_STRIDES = (1, 2, 4)


def stem_strides(network: nn.Module, trace: Trace, stride: int) -> dict[str, int]:
    """The strides with which the part of a network down to a quarter of the image reduces it `stride` times at most.

    Args:
        network: any.
        trace: of it.
        stride: one of `STEM_STRIDES`.

    Returns:
        Name of a module -> its new stride, for those that need another one.
    """
    strides = {}
    for call in trace.calls:
        module = network.get_submodule(call.name)
        own = getattr(module, "stride", 1)
        own = own[0] if isinstance(own, tuple | list) else own
        reduces = own != 1 and not list(module.children()) and len(call.entered) == len(call.shapes[0]) == 4
        if reduces:
            before, after = (reduction(trace.size, shape[2:]) for shape in (call.entered, call.shapes[0]))
            new = min(after, stride) // min(before, stride)
            if before < after <= 4 and new != own:
                strides[call.name] = new
    return strides


def set_strides(network: nn.Module, strides: Mapping[str, int]) -> None:
    """Sets them. A module without weights that is to keep the size, a pooling, makes room for `nn.Identity`."""
    for name, stride in strides.items():
        module = network.get_submodule(name)
        if stride == 1 and not module.state_dict():
            network.set_submodule(name, nn.Identity())
        else:
            module.stride = (stride, stride)  # type: ignore[assignment]  # nn.Module types attributes as modules
