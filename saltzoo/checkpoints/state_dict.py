"""Read state dicts saved by other software, with weights_only=True."""

from __future__ import annotations

import argparse
import os
import pathlib
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .folder import read_tensors

_TABLES = ("state_dict", "model", "model_state_dict", "net", "network", "module", "weights", "model_state", "params")
"""Keys under which training scripts store a state dict beside other values."""

_AVERAGES = ("ema", "swa", "averaged", "average")
"""Words in the keys under which they store an average of the weights."""

_NOT_MODELS = ("optim", "sched", "lr_", "scaler", "callbacks", "loops", "hyper_parameters", "hparams", "args", "amp")
"""Beginnings of keys whose tables hold no weights."""

_WRAPPERS = ("module.", "_orig_mod.", "model.", "net.", "network.", "ema_model.", "averaged_model.")
"""Prefixes that wrappers of models add to each key: of torch, of Lightning modules, of averages."""

_COUNTS = ("n_averaged", "num_updates", "initted", "step")
"""Tensors beside the weights in the state dict of an average."""

_PLAIN: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    argparse.Namespace,
    pathlib.PurePosixPath,
    pathlib.PosixPath,
]
"""Classes without code of their own, which training scripts store as the settings of a run."""


def read_state_dict(path: str | os.PathLike[str], *, which: str | None = None) -> dict[str, Tensor]:
    """Read the state dict in a file to the CPU. Only tensors and plain values are read; no pickled code is run.

    A state dict may be at the top level, or in tables of any depth, such as "state_dict" beside "epoch" and
    "hyper_parameters". Prefixes that all its keys have are removed: "module.", "_orig_mod.", "model.", "net.",
    "network.", "ema_model." and "averaged_model.".

    Args:
        path: .safetensors file, or a file written by torch.save.
        which: key of the table, such as "state_dict_ema", prefix of the keys, such as "ema_model", or several of both
            with dots between them, for a file with several state dicts. None: the only one.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged, holds more than tensors and plain values, holds no state dict, or holds several
            and `which` does not choose one.
    """
    file, content = _read(path)
    tables = dict(_tables(content))
    if which is not None:
        return without_prefixes(_under(which, dict(_leaves(content, "")), tables, file))
    if isinstance(content, Mapping) and content and all(isinstance(value, Tensor) for value in content.values()):
        return without_prefixes(content)
    named = [place for place in tables if _names_weights(place)]
    places = named or list(tables)
    if len(places) > 1:
        raise ValueError(several(places, file))
    if not places:
        raise ValueError(_why_none(content, file))
    return without_prefixes(tables[places[0]])


def read_by_place(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Return all tensors of a file that may be weights, by place: keys of tables and of the state dict, with dots.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged, or holds more than tensors and plain values.
    """
    return dict(_leaves(_read(path)[1], ""))


def choose(which: str, places: Collection[str], file: str | os.PathLike[str]) -> str:
    """Return the place that is `which`, or else the only one with these keys in its name.

    Raises:
        ValueError: if there is none, or more than one.
    """
    asked = which.strip(".") or which  # "." is the top level
    found = [place for place in places if place == asked] or [p for p in places if asked and f".{asked}." in f".{p}."]
    if len(found) == 1:
        return found[0]
    raise ValueError(
        f"which={which!r} must name one state dict of {file}, and names {len(found) or 'none'}: choose one of "
        f"{', '.join(map(repr, places)) or 'none'}"
    )


def several(places: list[str], file: str | os.PathLike[str]) -> str:
    """Return the error about a file with several state dicts."""
    return f"{file} holds several state dicts, {', '.join(map(repr, places))}: choose one with which={places[0]!r}"


def _read(path: str | os.PathLike[str]) -> tuple[Path, Any]:
    file = Path(path).expanduser()
    if not file.is_file():
        raise FileNotFoundError(f"no file {file}: give a file of weights (.pt, .pth, .bin, .ckpt, .safetensors)")
    return file, read_tensors(file) if file.suffix == ".safetensors" else _read_torch(file)


def _read_torch(file: Path) -> Any:
    try:
        with torch.serialization.safe_globals(_PLAIN):
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # its type depends on the fault: pickle, zipfile, torch, Python
        raise ValueError(
            f"{file} cannot be read as tensors and plain values ({type(error).__name__}): it is damaged, or holds "
            f"pickled objects, which may run code. In the software that wrote it, save model.state_dict() alone"
        ) from error


def _under(which: str, leaves: Mapping[str, Tensor], tables: Mapping[str, Any], file: Path) -> dict[str, Tensor]:
    """Return the tensors whose places begin with `which`, or else have its keys in only one place."""
    asked = f"{which.strip('.')}."
    ends = {key: f".{key}".find(f".{asked}") + len(asked) for key in leaves if f".{asked}" in f".{key}"}
    starts = {key[:end] for key, end in ends.items()}
    start = asked if asked in starts else f"{choose(which, [*(name.rstrip('.') for name in starts)] or tables, file)}."
    return {key.removeprefix(start): value for key, value in leaves.items() if key.startswith(start)}


def _tables(content: Any, place: str = "") -> Iterator[tuple[str, Mapping[str, Tensor]]]:
    """Yield the tables of nothing but tensors, with their places."""
    if not isinstance(content, Mapping):
        return
    if place and content and all(isinstance(value, Tensor) for value in content.values()):
        yield place, content
        return
    for key, value in content.items():
        if _may_hold_weights(key):
            yield from _tables(value, f"{place}.{key}".lstrip("."))


def _leaves(content: Any, place: str) -> Iterator[tuple[str, Tensor]]:
    if isinstance(content, Tensor):
        yield place, content
    elif isinstance(content, Mapping):
        for key, value in content.items():
            if isinstance(value, Tensor) or _may_hold_weights(key):
                yield from _leaves(value, f"{place}.{key}".lstrip("."))


def _may_hold_weights(key: Any) -> bool:
    return isinstance(key, str) and not key.lower().startswith(_NOT_MODELS)


def _names_weights(place: str) -> bool:
    last = place.rpartition(".")[2].lower()
    return last in _TABLES or any(word in last for word in _AVERAGES)


def _why_none(content: Any, file: Path) -> str:
    if not isinstance(content, Mapping) or not content:
        return f"{file} holds a {type(content).__name__} and no state dict: save model.state_dict()"
    inner = next((content[key] for key in _TABLES if isinstance(content.get(key), Mapping) and content[key]), content)
    others = [key for key, value in inner.items() if not isinstance(value, Tensor)]
    return (
        f"{file} holds no state dict: {others[:5]} are not tensors. A state dict may be at the top level or in a "
        f"table, such as {' or '.join(map(repr, _TABLES[:2]))}: save model.state_dict() alone"
    )


def without_prefixes(table: Mapping[Any, Tensor]) -> dict[str, Tensor]:
    """Return a state dict without the prefixes of wrappers that all its keys have."""
    tensors = {str(key): value for key, value in table.items()}
    while True:
        weights = {key: value for key, value in tensors.items() if key not in _COUNTS}
        wrapper = next((word for word in _WRAPPERS if weights and all(key.startswith(word) for key in weights)), None)
        if wrapper is None:
            return tensors
        tensors = {key.removeprefix(wrapper): value for key, value in weights.items()}
