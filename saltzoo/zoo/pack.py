"""The files of a model's checkpoint, after checking that create_model gives the same model back."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .._torch import names_without_wrappers
from ..checkpoints.card import model_card
from ..checkpoints.config import config_of
from ..checkpoints.folder import CARD, CONFIG, WEIGHTS, load_folder, tensors_to_bytes
from ..checkpoints.tensors import check_plain, shapes_of, tensors_of, to_stored
from ..contracts import ModelConfig
from .build import build_model
from .registry import find_model
from .restore import leave_out_heads

_SHOWN = 3

_SAME_AS = {
    "PooledBatchNorm": "BatchNorm2d",
    "SyncBatchNorm": "BatchNorm2d",
    "BatchNorm1d": "BatchNorm2d",
    "SyncBatchNormAct": "BatchNormAct2d",
}
"""Batch norms that compute the same in evaluation mode. Those of several processes replace the others in training."""

_NO_EFFECT = re.compile(r"(, )?(inplace|momentum)=[^,]*")
"""Settings that do not change what a network computes in evaluation mode."""


@dataclass(frozen=True)
class Packed:
    """A checkpoint before it is written.

    Attributes:
        config: content of config.json.
        tensors: tensors as they are stored.
    """

    config: dict[str, Any]
    tensors: dict[str, Tensor]

    def files(self) -> dict[str, bytes]:
        """Return the content of each file; the config, which makes the others valid, is the last."""
        return {
            WEIGHTS: tensors_to_bytes(self.tensors),
            CARD: model_card(self.config).encode(),
            CONFIG: (json.dumps(self.config, indent=2) + "\n").encode(),
        }

    def check(self, folder: Path) -> None:
        """Raise OSError unless a folder reads as it was meant."""
        read = load_folder(folder)
        if read.config != self.config or [*shapes_of(read.tensors)] != [*shapes_of(self.tensors)]:
            raise OSError(f"{folder} does not read as it was written, and was removed: check the disk, and save again")


def pack(model: nn.Module, config: dict[str, Any], *, dtype: str) -> Packed:
    """Return the checkpoint of a model without wrappers.

    Args:
        model: made by `create_model`.
        config: what `describe` returned for it.
        dtype: "float32" or "float16".

    Raises:
        ValueError: if the model was changed since `create_model`, or a tensor has no plain numbers.
    """
    tensors = tensors_of(model)
    check_plain(tensors, f"this {type(model).__name__} cannot be saved")
    rebuilt = _rebuilt(model, config_of(model)[0])
    _check_same(model, tensors, rebuilt)
    parameters = {name for name, _ in rebuilt.named_parameters(remove_duplicate=False)}
    return Packed(config, to_stored(tensors, halve=parameters if dtype == "float16" else set()))


def _rebuilt(model: nn.Module, config: ModelConfig) -> nn.Module:
    """Return the model that `create_model` would build of a config, without values if its builder allows that.

    Raises:
        ValueError: if it cannot be built.
    """
    try:
        with torch.random.fork_rng(devices=[]):
            spec = find_model(config.architecture)
            try:
                with torch.device("meta"):
                    built = build_model(spec, config.model_args)
            except (NotImplementedError, RuntimeError):  # a user's builder may compute with its tensors
                built = build_model(spec, config.model_args)
            return leave_out_heads(built) if config.mask_only else built
    except Exception as error:
        raise ValueError(
            f"this {type(model).__name__} cannot be saved, because create_model cannot build it again from its "
            f"config ({type(error).__name__}: {error}): register its builder with saltzoo.register_model, and do not "
            f"change model.config"
        ) from error


def _check_same(model: nn.Module, tensors: Mapping[str, Tensor], rebuilt: nn.Module) -> None:
    """Raise ValueError unless a model has the modules and tensors of the one that was built from its config."""
    found = [*_other_tensors(tensors, rebuilt.state_dict()), *_other_modules(_modules(model), _modules(rebuilt))]
    if found:
        more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        raise ValueError(
            f"this {type(model).__name__} cannot be saved, because create_model would build another model from its "
            f"config: {'; '.join(found[:_SHOWN])}{more}. It was changed after create_model: build it with the options "
            f"that give this model, or register a builder with saltzoo.register_model"
        )


def _other_tensors(tensors: Mapping[str, Tensor], built: Mapping[str, Tensor]) -> Iterator[str]:
    yield from (f"{key} is missing" for key in built if key not in tensors)
    for key, value in tensors.items():
        if key not in built:
            yield f"{key} is added"
        elif value.shape != built[key].shape:
            yield f"{key} is {tuple(value.shape)} and was built as {tuple(built[key].shape)}"
        elif value.dtype != built[key].dtype and not (value.is_floating_point() and built[key].is_floating_point()):
            yield f"{key} is {value.dtype} and was built as {built[key].dtype}"


def _other_modules(modules: Mapping[str, nn.Module], built: Mapping[str, nn.Module]) -> Iterator[str]:
    yield from (f"{name} is missing" for name in built if name not in modules)
    for name, module in modules.items():
        if name not in built:
            yield f"{name} ({type(module).__name__}) is added"
        elif _kind(module) != _kind(built[name]):
            yield f"{name} is a {type(module).__name__} and was built as a {type(built[name]).__name__}"
        elif _settings(module) != _settings(built[name]):
            yield f"{name} is {_words(module)} and was built as {_words(built[name])}"


def _modules(model: nn.Module) -> dict[str, nn.Module]:
    """Return the modules by name, as they are without wrappers inside the model."""
    names = names_without_wrappers(model)
    return {names[name]: module for name, module in model.named_modules(remove_duplicate=False)}


def _kind(module: nn.Module) -> str:
    name = type(module).__name__
    return _SAME_AS.get(name, name)


def _settings(module: nn.Module) -> str:
    """Return what torch prints of a layer, without settings that matter in training only."""
    if not type(module).extra_repr.__module__.startswith("torch.nn.") or "Drop" in type(module).__name__:
        return ""
    return _NO_EFFECT.sub("", module.extra_repr())


def _words(module: nn.Module) -> str:
    return f"{type(module).__name__}({module.extra_repr()})"
