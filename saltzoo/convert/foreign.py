"""Load weights that other software saved into a model."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from typing import TypeVar

from torch import Tensor, nn

from .._torch import unwrapped
from ..checkpoints.adapt import load_strictly
from ..checkpoints.state_dict import choose, read_by_place, read_state_dict, several

_Model = TypeVar("_Model", bound=nn.Module)

_BACKBONE = "backbone."
"""Prefix of all keys of a `TimmEncoder`, whose network has the keys of timm."""

_CLASSIFIERS = ("fc", "head", "heads", "head_dist", "classifier", "last_linear", "conv_head", "bn2", "norm", "fc_norm")
"""First words of the keys of timm networks for layers after the last map."""

_log = logging.getLogger("saltzoo")


def load_foreign(model: _Model, path: str | os.PathLike[str], *, which: str | None = None) -> _Model:
    """Load weights that other software saved: .pt, .pth, .bin, .ckpt or .safetensors.

    The state dict is found by the model's keys, under any tables and prefixes: {"state_dict": {"model.encoder..."}} of
    Lightning, "module." of DataParallel, "_orig_mod." of torch.compile, an average under "ema_model." or
    "state_dict_ema". What a file holds beside it, such as the weights of a loss or of another network, is left.

    Args:
        model: made by `create_model` with the options that the weights were trained with. Set its `preprocess` if
            they were trained with other statistics; `save_pretrained` then writes a checkpoint. Or an encoder of such
            a model: a file of timm's network, with its classifier, fits it.
        path: file; see `read_state_dict`.
        which: where the state dict is, for a file with several that fit: keys of tables and prefixes with dots between
            them, or some of these that only one has, such as "state_dict_ema" or "ema_model". None: the only one.

    Returns:
        The model.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it holds no state dict, one with other keys or shapes, which are named, or several and `which`
            does not choose one.

    Example:
        >>> import saltzoo, tempfile, torch
        >>> model = saltzoo.create_model("saltnet_s")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     torch.save({"epoch": 3, "state_dict": model.state_dict()}, f"{folder}/last.pt")
        ...     again = load_foreign(saltzoo.create_model("saltnet_s"), f"{folder}/last.pt")
        >>> all(torch.equal(value, model.state_dict()[key]) for key, value in again.state_dict().items())
        True
    """
    plain = unwrapped(model)
    load_strictly(
        plain,
        _fitting(plain.state_dict(), path, which),
        what=f"the weights of {path} and this {type(plain).__name__}",
        hint="Build the model with the options that they were trained with, or rename keys in the result of "
        "read_state_dict and load it with load_state_dict",
    )
    return model


def _fitting(own: Mapping[str, Tensor], path: str | os.PathLike[str], which: str | None) -> dict[str, Tensor]:
    """Return the tensors of a file for a model's keys: those of the only place where all keys are."""
    by_place = {_without_compile(key): value for key, value in read_by_place(path).items()}
    found = _places({_without_compile(key): key for key in own}, by_place, _unchanged)
    if not found and all(key.startswith(_BACKBONE) for key in own):
        names = {_flat(_without_compile(key.removeprefix(_BACKBONE))): key for key in own}
        found = {place: _without_classifier(table) for place, table in _places(names, by_place, _flat).items()}
    found = {place: table for place, table in found.items() if _same_shapes(own, table)} or found
    if not found:
        return read_state_dict(path, which=which)  # loading it names what does not fit
    if which is None and len(found) > 1:
        raise ValueError(several(list(found), path))
    place = next(iter(found)) if which is None else choose(which, found, path)
    others = len(by_place) - len(found[place])
    if others:
        _log.info("%s: %s tensors beside the state dict %r are not used", path, others, place)
    return found[place]


def _places(
    names: Mapping[str, str], by_place: Mapping[str, Tensor], form: Callable[[str], str]
) -> dict[str, dict[str, Tensor]]:
    """Return the tensors at each place that has all keys of a model, by the model's keys.

    Args:
        names: the model's keys by their form.
        by_place: tensors of the file.
        form: function that gives keys of the file the form of `names`.
    """
    anchor = max(names, key=len, default="")
    starts = [start for key in by_place for start in _starts(key) if form(key.removeprefix(start)) == anchor]
    found = {}
    for start in starts:
        inner = tuple(other for other in starts if other != start and other.startswith(start))
        keys = [key for key in by_place if key.startswith(start) and not (inner and key.startswith(inner))]
        table = {form(key.removeprefix(start)): (key.removeprefix(start), by_place[key]) for key in keys}
        if names.keys() <= table.keys():
            found[start.rstrip(".") or "."] = {names.get(name, key): value for name, (key, value) in table.items()}
    return found


def _starts(key: str) -> list[str]:
    """Return all beginnings of a key that end with a dot, and "": ["", "a.", "a.b."] of "a.b.c"."""
    parts = key.split(".")
    return ["".join(f"{part}." for part in parts[:count]) for count in range(len(parts))]


def _without_classifier(table: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {
        key: value
        for key, value in table.items()
        if key.startswith(_BACKBONE) or key.partition(".")[0] not in _CLASSIFIERS
    }


def _without_compile(key: str) -> str:
    return ".".join(part for part in key.split(".") if part != "_orig_mod")


def _unchanged(key: str) -> str:
    return key


def _flat(key: str) -> str:
    """Return a key of timm in one form: a network for maps has "stages_0." where that for classes has "stages.0."."""
    return key.replace(".", "_")


def _same_shapes(own: Mapping[str, Tensor], table: Mapping[str, Tensor]) -> bool:
    return all(table[key].shape == value.shape for key, value in own.items())
