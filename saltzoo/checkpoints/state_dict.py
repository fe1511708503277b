"""Read state dicts saved by other software, with weights_only=True."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .folder import read_tensors

_TABLES = ("state_dict", "model")
"""Keys under which training scripts store a state dict beside other values."""

_WRAPPERS = ("module.", "_orig_mod.")
"""Prefixes that DistributedDataParallel and torch.compile add to each key."""


def read_state_dict(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Read the state dict in a file to the CPU. Only tensors and plain values are read; no pickled code is run.

    The table under "state_dict" or "model" is used if there is one. Prefixes "module." and "_orig_mod." are removed if
    all keys have them.

    Args:
        path: .safetensors file, or a file written by torch.save.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged, holds more than tensors and plain values, or holds no state dict.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise FileNotFoundError(f"no file {file}: give a file of weights (.pt, .pth, .bin, .ckpt, .safetensors)")
    table = _innermost(read_tensors(file) if file.suffix == ".safetensors" else _read_torch(file))
    if not isinstance(table, Mapping) or not table:
        raise ValueError(f"{file} holds a {type(table).__name__} and no state dict: save model.state_dict()")
    others = [key for key, value in table.items() if not isinstance(value, Tensor)]
    if others:
        raise ValueError(
            f"{file} holds no state dict: {others[:5]} are not tensors. A state dict may be at the top level or under "
            f"{' or '.join(map(repr, _TABLES))}: save model.state_dict() alone"
        )
    return _unwrapped(table)


def _read_torch(file: Path) -> Any:
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # its type depends on the fault: pickle, zipfile, torch, Python
        raise ValueError(
            f"{file} cannot be read as tensors and plain values ({type(error).__name__}): it is damaged, or holds "
            f"pickled objects, which may run code. In the software that wrote it, save model.state_dict() alone"
        ) from error


def _innermost(table: Any) -> Any:
    for key in _TABLES:
        if isinstance(table, Mapping) and isinstance(table.get(key), Mapping):
            return _innermost(table[key])
    return table


def _unwrapped(table: Mapping[Any, Tensor]) -> dict[str, Tensor]:
    tensors = {str(key): value for key, value in table.items()}
    while wrapper := next((word for word in _WRAPPERS if all(key.startswith(word) for key in tensors)), None):
        tensors = {key.removeprefix(wrapper): value for key, value in tensors.items()}
    return tensors
