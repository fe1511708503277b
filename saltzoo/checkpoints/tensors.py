"""Turn the state dict of a model into tensors that safetensors holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from .._torch import names_without_wrappers
from .quantized import quantized


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    """Return the state dict of a model, with the keys that it has without wrappers inside it."""
    names = names_without_wrappers(model)
    tensors = {}
    for key, value in model.state_dict().items():
        module, _, last = key.rpartition(".")
        tensors[f"{names[module]}.{last}".lstrip(".") if module in names else key] = value
    return tensors


def check_plain(tensors: Mapping[str, Any], what: str) -> None:
    """Raise ValueError if a value of a state dict is not a plain tensor with numbers.

    Args:
        tensors: a state dict.
        what: beginning of the message, such as "this Unet cannot be saved".
    """
    for key, value in tensors.items():
        reason = _why_not_storable(value)
        if reason:
            raise ValueError(f"{what}: {key} {reason}")


def to_stored(tensors: Mapping[str, Tensor], parameters: frozenset[str] | set[str], *, dtype: str) -> dict[str, Tensor]:
    """Return tensors as safetensors needs them: on the CPU, contiguous, with a memory of their own.

    Tied weights are stored once for each of their keys.

    Args:
        tensors: result of `tensors_of`.
        parameters: keys of parameters, whose storage `dtype` chooses; other tensors are stored in float32.
        dtype: "float32"; "float16" for parameters that keep their values in it; or "int8" for large parameters in 8
            bits (see `quantized.py`) and small ones in float16.
    """
    stored: dict[str, Tensor] = {}
    memory: set[int] = set()
    for key, value in tensors.items():
        tensor = value.detach().cpu().contiguous()
        if tensor.is_floating_point():
            tensor = tensor.float()
            if key in parameters and dtype != "float32":
                eight_bits = quantized(key, tensor) if dtype == "int8" else None
                if eight_bits:
                    stored |= eight_bits
                    continue
                tensor = _halved(tensor)
        storage = tensor.untyped_storage()
        if storage.nbytes() != tensor.nbytes or storage.data_ptr() in memory:
            tensor = tensor.clone()
        elif tensor.nbytes:
            memory.add(storage.data_ptr())
        stored[key] = tensor
    return stored


def shapes_of(tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, tuple[int, ...], torch.dtype]]:
    """Yield key, shape and dtype of each tensor, sorted by key."""
    for key in sorted(tensors):
        yield key, tuple(tensors[key].shape), tensors[key].dtype


def _why_not_storable(value: Any) -> str:
    """Return why a value of a state dict cannot be stored, or "" if it can."""
    if not isinstance(value, Tensor):
        return f"is a {type(value).__name__}, and checkpoints hold tensors only"
    if type(value) not in (Tensor, nn.Parameter):
        return f"is a {type(value).__name__}, not a plain tensor: save the model before it is sharded or quantised"
    if value.is_meta:
        return 'has no values (its device is "meta"): build the model on another device and load its weights'
    if value.is_quantized:
        return "is quantised: save the model before it is quantised"
    if value.layout != torch.strided:
        return f"is sparse ({value.layout}): make it dense with to_dense()"
    if value.is_complex():
        return f"is {value.dtype}: checkpoints hold real numbers"
    return ""


def _halved(value: Tensor) -> Tensor:
    """Return a tensor in float16, or unchanged if float16 overflows or is too coarse for it."""
    half = value.half()
    exact = value.double()
    lost = torch.linalg.vector_norm(half.double() - exact)
    return half if lost <= 1e-3 * torch.linalg.vector_norm(exact) else value
