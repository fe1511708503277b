"""Other strides for the stem of a network: larger maps from the same weights."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from .trace import Trace, reduction

STEM_STRIDES = (1, 2, 4)


def stem_strides(network: nn.Module, trace: Trace, stride: int) -> dict[str, int]:
    """Return new strides with which the part of a network down to 1/4 of the image reduces it to 1/stride at most.

    Args:
        network: network that was traced.
        trace: trace of the network.
        stride: one of `STEM_STRIDES`.

    Returns:
        Name of a module -> its new stride, for modules whose stride changes.
    """
    strides = {}
    for call in trace.calls:
        module = network.get_submodule(call.name)
        old = getattr(module, "stride", 1)
        old = old[0] if isinstance(old, tuple | list) else old
        is_strided_leaf = old != 1 and not list(module.children())
        if is_strided_leaf and len(call.input_shape) == len(call.shapes[0]) == 4:
            before, after = (reduction(trace.size, shape[2:]) for shape in (call.input_shape, call.shapes[0]))
            new = min(after, stride) // min(before, stride)
            if before < after <= 4 and new != old:
                strides[call.name] = new
    return strides


def set_strides(network: nn.Module, strides: Mapping[str, int]) -> None:
    """Set the strides of modules by name. A pooling whose new stride is 1 is replaced by `nn.Identity`."""
    for name, stride in strides.items():
        module = network.get_submodule(name)
        if stride == 1 and not module.state_dict():
            network.set_submodule(name, nn.Identity())
        else:
            module.stride = (stride, stride)  # type: ignore[assignment]  # nn.Module types attributes as modules
